"""Emitting one operator's launches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..graph import Activation, Graph, Operator
from ..plan import ROW_INTS, DeviceInfo
from ..program import PLAIN, Chain, Instance
from ..tables import Form, Role
from .arena import Arena
from .views import BUFFER_SHIFT, Ints, Layout, View, at, four
from .ways import Way

FORMS_AT = 40
"""Where a descriptor row holds the parameters of the form that is written, and after them those of the form that is read."""


@dataclass(slots=True)
class Builder:
    """How one operator's launches are emitted. Techniques that replace a whole operator (`Technique.lower`) are handed one.

    `launch` appends; `constant`, `scratch`, `view` and `output` give addresses that rows may hold.
    reads: forms of what is read, float32 left out; delivered: (buffer, form) that need not be converted here; writes: wanted forms of the output.
    """

    operator: Operator
    graph: Graph
    device: DeviceInfo
    arena: Arena
    views: Mapping[str, View]
    emit_exact: Callable[[Builder, Operator], None]
    instances: set[Instance | Chain] = field(default_factory=set)
    launches: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    scratched: dict[Layout, int] = field(default_factory=dict)
    geometry: str = ""
    reads: Mapping[Role, Form] = field(default_factory=dict)
    delivered: frozenset[tuple[int, Form]] = frozenset()
    writes: frozenset[Form] = frozenset({PLAIN})
    written: Form = PLAIN
    used: dict[int, int] = field(default_factory=dict)
    """Address of each constant that was asked for, and its bytes."""
    ways: Mapping[str, Way] = field(default_factory=dict)
    forced: Way | None = None
    key: str = ""
    legal: Sequence[Way] = ()
    """Of the way to compute it: those chosen for other keys too, the one to take whatever was chosen, its key, and all that are legal."""

    def choose(self, key: str, legal: Sequence[Way]) -> Way:
        """The way that is forced, else the one chosen for this key, else the first, which is the rule's."""
        self.key, self.legal = key, legal
        way = self.forced or (self.ways.get(key) if len(legal) > 1 else None)
        return way if way is not None and way in legal else legal[0]

    def launch(self, function: str, units: int, row: Iterable[int]) -> None:
        if units == 0:  # a tensor without elements; the network kernel counts on every launch to finish
            return
        ints = tuple(int(i) for i in row)
        assert len(ints) <= ROW_INTS, f"{function}: {len(ints)} descriptor entries"
        self.launches.append((function, int(units), ints))

    def chain(self, first: int, shares: Sequence[Ints]) -> None:
        """Join the launches from `first` on: a unit of what they become runs units of each, in their order, by one thread.

        shares: per launch int[units, count], what each unit of the whole runs. No unit may read what another one's share writes.
        """
        parts = self.launches[first:]
        del self.launches[first:]
        chain = Chain(tuple(function for function, _, _ in parts))
        self.instances.add(chain)
        entries = []
        for (_, _, row), share in zip(parts, shares, strict=True):
            whole = np.array([*row, *[0] * (ROW_INTS - len(row))], dtype=np.int64)
            entries += [self.table(whole, "row"), self.table(share, "share"), share.shape[1]]
        self.launch(chain.name, len(shares[0]), entries)

    def constant(self, values: npt.ArrayLike, name: str) -> int:
        """Offset of an array that the plan carries; equal arrays are stored once."""
        array = np.asarray(values)
        address = self.arena.constant(array, f"{self.operator.name}/{name}")
        self.used[address] = array.nbytes
        return address

    def table(self, addresses: Ints, name: str) -> int:
        """Offset of an int32 table of addresses (or plain offsets)."""
        address = self.arena.table(addresses, f"{self.operator.name}/{name}")
        self.used[address] = 4 * addresses.size
        return address

    def scratch(self, elements: int) -> int:
        """Address of memory that is free while this operator runs; its variants share it."""
        return self.scratch_in(Layout((1, 1, 1, elements), 1))

    def scratch_in(self, layout: Layout) -> int:
        """The same, for a tensor in a layout: its halo is zero."""
        used = self.scratched.setdefault(layout, 0)
        self.scratched[layout] += 1
        return self.arena.scratch(layout, used)

    def view(self, name: str) -> View:
        """Where an input (or the residual) lies."""
        if name in self.operator.constants:
            values = np.ascontiguousarray(self.operator.constants[name], dtype=np.float32)
            start = self.constant(values, name)
            return at(start + np.arange(values.size, dtype=np.int64).reshape(values.shape))
        return self.views[name]

    @property
    def output(self) -> View:
        return self.views[self.operator.output]

    def exact(self, operator: Operator) -> None:
        """Emit the launches of the exact operator."""
        self.emit_exact(self, operator)

    # -- forms

    def stored(self, view: View, form: Form) -> int:
        """Address of the buffer of a view in some form; converted now unless that is done."""
        start = view.start >> BUFFER_SHIFT << BUFFER_SHIFT
        if form == PLAIN:
            return start
        if (start, form) not in self.delivered:
            self._convert(start, self.arena.buffers[start >> BUFFER_SHIFT].size, form)
            self.delivered |= {(start, form)}
        return self.arena.form(start, form)

    def restored(self, view: View, form: Form) -> View:
        """A tensor that is read in a form, as float32: rounded as that form rounds."""
        if form == PLAIN:
            return view
        assert view.layout is not None
        stored, size = self.stored(view, form), self.arena.buffers[view.start >> BUFFER_SHIFT].size
        copy = self.scratch_in(view.layout)
        self._over(Instance("form", reads=form.kind), "restore", size, (stored, copy), reads=form)
        return replace(view, start=copy + view.within - view.layout.origin)

    def target(self) -> tuple[Form, int]:
        """For who can write any form: the one to write the output in, and the address of its first element."""
        layout = self.output.layout
        assert layout is not None
        if self.writes == {PLAIN} or len(self.writes) > 1:
            return PLAIN, self.output.origin
        (form,) = self.writes
        self.written = form
        stored = self.arena.form(self.output.start, form)
        if not form.zero_is_zero and any(layout.halo):
            left, right = layout.halo[1] * layout.block, layout.halo[3] * layout.block
            _, plane, row, _ = layout.strides
            instance = Instance("form", writes=form.kind)
            self.instances.add(instance)
            entries = (stored, plane, row, plane // row, layout.halo[0], layout.halo[2], left, right)
            self.launch("halo" + instance.suffix, layout.size // plane, with_forms(entries, writes=form))
        return form, stored + self.output.within * form.element_bytes // 4

    def deliver(self) -> None:
        """Convert the output, which lies in float32 by now, to the other forms that are wanted; of a buffer that others write too, its own part."""
        start, layout = self.output.start, self.output.layout
        pieces = [(start, self.arena.buffers[start >> BUFFER_SHIFT].size)]
        if layout is not None and layout.of:
            image, plane, _, _ = layout.strides
            pieces = [(start + n * image, layout.blocks * plane) for n in range(layout.extent[0])]
        for form in sorted(self.writes - {self.written, PLAIN}, key=lambda form: (form.name, form.parameters)):
            for first, size in pieces:
                self._convert(first, size, form)

    def _convert(self, first: int, size: int, form: Form) -> None:
        stored = self.arena.form(first, form) + first % (1 << BUFFER_SHIFT) * form.element_bytes // 4
        self._over(Instance("form", writes=form.kind), "convert", size, (first, stored), writes=form)

    def _over(
        self, instance: Instance, function: str, size: int, ends: tuple[int, int], *, writes: Form = PLAIN, reads: Form = PLAIN
    ) -> None:
        self.instances.add(instance)
        per_unit = -(-self.share(size, 1024) // self.device.block) * self.device.block
        self.launch(function + instance.suffix, -(-size // per_unit), with_forms((*ends, size, per_unit), writes, reads))

    # -- moving data

    def gather(self, source: Ints, target: Ints) -> None:
        """Copy single elements from addresses to addresses."""
        count = source.size
        per_unit = self.share(count, 256)
        row = (count, per_unit, self.table(target.ravel(), "to"), self.table(source.ravel(), "from"))
        self.launch("gather", -(-count // per_unit), row)

    def plain(self, name: str) -> int:
        """Address of an input as a row-major array, copied if it does not lie so."""
        elements = self.view(name).elements().ravel()
        if elements.size == 0 or bool((np.diff(elements) == 1).all()):
            return int(elements[0]) if elements.size else 0
        start = self.scratch(elements.size)
        self.gather(elements, start + np.arange(elements.size, dtype=np.int64))
        return start

    def blocked(self, view: View, halo: tuple[int, int, int, int] = (0, 0, 0, 0), vectors: bool = True) -> View:
        """The tensor in a layout with at least this halo, in channel blocks if `vectors`; copied if it does not lie so."""
        if lies_blocked(view, halo, self.device.block if vectors else None):
            return view
        wanted = Layout(four(view.shape), self.device.block, halo)
        copy = View(view.shape, self.scratch_in(wanted), wanted)
        self.gather(view.elements(), copy.elements())
        return copy

    def share(self, count: int, least: int) -> int:
        """How many of `count` small things one unit should do, so that there is enough to share out."""
        return max(least, -(-count // (8 * self.device.threads))) if self.device.kind == "cpu" else 1


def lies_blocked(view: View, halo: tuple[int, int, int, int], block: int | None) -> bool:
    """Whether a tensor lies in a layout with at least this halo, in channel blocks of this size (None: any)."""
    layout = view.layout
    return (
        layout is not None
        and layout.extent == four(view.shape)
        and block in (None, layout.block)
        and all(have >= need for have, need in zip(layout.halo, halo, strict=True))
    )


def with_forms(row: tuple[int, ...], writes: Form = PLAIN, reads: Form = PLAIN) -> tuple[int, ...]:
    """A descriptor row with the parameters of forms behind it, if there are any."""
    if writes == reads == PLAIN:
        return row
    parameters = np.array([*writes.parameters, *reads.parameters], dtype=np.float32).view(np.int32)
    return (*row, *(0,) * (FORMS_AT - len(row)), *parameters.tolist())


def activation_row(activation: Activation | None) -> tuple[int, ...]:
    """The five descriptor entries that `ACTIVATE` reads."""
    codes = {"clip": 0, "relu": 0, "leaky_relu": 1, "sigmoid": 2, "tanh": 3, "hard_sigmoid": 4, "hard_swish": 5}
    a = activation or Activation("clip")
    if a.kind == "relu":
        a = Activation("clip", low=0.0)
    bits = np.array([a.alpha, a.beta, a.low, a.high], dtype=np.float32).view(np.int32)
    return (codes[a.kind], *bits.tolist())


NO_ACTIVATION = activation_row(None)


def row_by_row(source: Layout, source_origin: int, target: Layout, target_origin: int) -> tuple[int, tuple[int, ...]]:
    """Units, and descriptor entries 0-10 of the row-by-row functions in elementwise.cl."""
    images, _, rows, columns = target.extent
    row = (source_origin, *source.strides[:3], target_origin, *target.strides[:3], target.blocks, rows, columns * target.block)
    return images * target.blocks * rows, row
