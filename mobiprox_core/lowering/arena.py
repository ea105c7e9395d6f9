"""The arena of a plan under construction: constants and tables first, then buffers, placed at the end."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import LoweringError
from ..plan import Constant
from ..tables import Form
from .views import BUFFER_SHIFT, Ints, Layout

ALIGNMENT = 16
"""Elements: 64 bytes, a cache line and the widest vector."""


@dataclass(slots=True)
class Buffer:
    """Memory of activations, alive from step `first` to `last`. Buffers of equal geometry may share memory: halos stay what they are."""

    size: int
    geometry: Layout | tuple[Layout, Form] | None  # None: shares with none
    first: int = 0
    last: int = -1
    base: int = -1


class Arena:
    """Hands out addresses. step: the operator that is being lowered, in order; what it touches is alive then."""

    def __init__(self, keep_activations: bool) -> None:
        self.keep = keep_activations
        self.step = 0
        self.buffers = [Buffer(0, None)]
        self.constant_elements = 0
        self._constants: list[tuple[str, int, npt.NDArray[Any]]] = []
        self._addresses: set[int] = set()  # which constants are tables of addresses
        self._known: dict[tuple[str, bytes], int] = {}
        self._scratches: dict[tuple[int, Layout, int], int] = {}
        self._forms: dict[tuple[int, Form], int] = {}

    def constant(self, values: npt.NDArray[Any], name: str) -> int:
        values = np.ascontiguousarray(values)
        key = (values.dtype.str, sha256(values.tobytes()).digest())
        if key not in self._known:
            self._known[key] = self.constant_elements
            self._constants.append((name, self.constant_elements, values))
            self.constant_elements += -(-values.nbytes // (4 * ALIGNMENT)) * ALIGNMENT
        return self._known[key]

    def table(self, addresses: Ints, name: str) -> int:
        addresses = np.ascontiguousarray(addresses, dtype=np.int64)
        if addresses.size == 0 or int(addresses.max()) < 1 << BUFFER_SHIFT:
            return self.constant(addresses.astype(np.int32), name)
        for buffer in np.unique(addresses >> BUFFER_SHIFT):
            self.touch(int(buffer))
        key = ("addresses", sha256(addresses.tobytes()).digest())
        if key not in self._known:
            self._known[key] = self.constant_elements
            self._addresses.add(len(self._constants))
            self._constants.append((name, self.constant_elements, addresses))
            self.constant_elements += -(-addresses.size // ALIGNMENT) * ALIGNMENT
        return self._known[key]

    def buffer(self, elements: int, geometry: Layout | tuple[Layout, Form] | None) -> int:
        """Address of fresh memory, alive from this step on."""
        self.buffers.append(Buffer(-(-elements // ALIGNMENT) * ALIGNMENT, geometry, self.step, self.step))
        return (len(self.buffers) - 1) << BUFFER_SHIFT

    def scratch(self, layout: Layout, nth: int) -> int:
        """The operator's nth scratch buffer of a layout: variants never run together, so they share it."""
        key = (self.step, layout, nth)
        if key not in self._scratches:
            self._scratches[key] = self.buffer(layout.size, layout)
        return self._scratches[key]

    def form(self, start: int, form: Form) -> int:
        """Address of the buffer that holds what the one at `start` holds, in another form, element by element.

        A few bytes are left behind it: whoever reads elements several at a time may read beyond the last.
        """
        key = (start >> BUFFER_SHIFT, form)
        if key not in self._forms:
            of = self.buffers[key[0]]
            geometry = (of.geometry, form.kind) if isinstance(of.geometry, Layout) and form.zero_is_zero else None
            self._forms[key] = self.buffer(of.size * form.element_bytes // 4 + ALIGNMENT, geometry)
        self.touch(self._forms[key] >> BUFFER_SHIFT)
        return self._forms[key]

    def touch(self, buffer: int) -> None:
        self.buffers[buffer].last = max(self.buffers[buffer].last, self.step)

    def place(self) -> int:
        """Give every buffer its base; buffers of equal geometry share memory when their lives do not overlap. Returns the arena's size."""
        free: dict[Any, list[tuple[int, int]]] = {}
        top = self.constant_elements
        for buffer in sorted(self.buffers[1:], key=lambda b: b.first):
            pool = free.setdefault((buffer.geometry, buffer.size), [])
            reusable = next((i for i, (_, last) in enumerate(pool) if last < buffer.first), None)
            if reusable is None or self.keep or buffer.geometry is None:
                buffer.base = top
                top += buffer.size
            else:
                buffer.base = pool.pop(reusable)[0]
            pool.append((buffer.base, buffer.last))
        self.buffers[0].base = 0
        return top

    def resolve(self, addresses: Ints) -> npt.NDArray[np.int32]:
        bases = np.array([b.base for b in self.buffers], dtype=np.int64)
        buffer = np.where(addresses < 0, 0, addresses >> BUFFER_SHIFT)
        resolved = np.where(addresses < 1 << BUFFER_SHIFT, addresses, bases[buffer] + (addresses & ((1 << BUFFER_SHIFT) - 1)))
        if resolved.size and (resolved.max() >= 1 << 31):
            raise LoweringError("the network needs more than 8 GB", mend="use a smaller batch, or fewer settings at once")
        return resolved.astype(np.int32)

    # -- the plan

    def constants(self) -> tuple[Constant, ...]:
        """All of them, addresses resolved; after `place`."""
        return tuple(
            Constant(name, offset, self.resolve(values) if i in self._addresses else values)
            for i, (name, offset, values) in enumerate(self._constants)
        )
