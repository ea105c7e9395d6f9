"""Where tensors lie: an address for every element.

An address is an integer: buffer << 40 | element (of 4 bytes). Buffer 0 is the constants' region, whose offsets are final; the others
are placed when all operators are known. What only moves elements is NumPy on addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from ..errors import LoweringError
from ..graph import Operator, Shape

BUFFER_SHIFT = 40

Ints = npt.NDArray[np.int64]
Extent = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Elements (n, c, h, w) at origin + n*strides[0] + (c//block)*strides[1] + h*strides[2] + w*strides[3] + c%block.

    halo: rows and columns stored around every plane (top, left, bottom, right); zero, and never written. of: channel blocks that the layout has
    of which this one is a part; 0 where it is whole.
    """

    extent: Extent
    block: int
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    of: int = 0

    @property
    def blocks(self) -> int:
        return -(-self.extent[1] // self.block)

    @property
    def strides(self) -> Extent:
        _, _, height, width = self.extent
        top, left, bottom, right = self.halo
        row = (width + left + right) * self.block
        plane = (height + top + bottom) * row
        return (self.of or self.blocks) * plane, plane, row, self.block

    @property
    def size(self) -> int:
        return self.extent[0] * self.strides[0]

    @property
    def origin(self) -> int:
        """Of element 0, from the start of the buffer."""
        return self.halo[0] * self.strides[2] + self.halo[1] * self.strides[3]

    def offsets(self) -> Ints:
        """int64[N, C, H, W], from element 0."""
        n, c, h, w = (np.arange(length, dtype=np.int64) for length in self.extent)
        image, plane, row, column = self.strides
        channels = c // self.block * plane + c % self.block
        return (n * image)[:, None, None, None] + channels[:, None, None] + (h * row)[:, None] + w * column


def four(shape: Shape) -> Extent:
    """A logical shape as (N, C, H, W): missing spatial axes are 1, [N, C, L] is [N, C, 1, L]; axes between are merged."""
    match shape:
        case ():
            return 1, 1, 1, 1
        case (n,):
            return n, 1, 1, 1
        case (n, c):
            return n, c, 1, 1
        case (n, c, *rest, w):
            return n, c, prod(rest), w
    raise AssertionError(shape)


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: either a whole buffer in a layout, or an address per element."""

    shape: Shape
    start: int = 0
    layout: Layout | None = None
    addresses: Ints | None = None

    @property
    def origin(self) -> int:
        assert self.layout is not None
        return self.start + self.layout.origin

    @property
    def within(self) -> int:
        """Of element 0, from the start of the buffer."""
        return self.origin & ((1 << BUFFER_SHIFT) - 1)

    def elements(self) -> Ints:
        """int64[shape], the address of every element."""
        if self.addresses is not None:
            return self.addresses
        assert self.layout is not None
        return (self.origin + self.layout.offsets()).reshape(self.shape)

    @property
    def buffers(self) -> set[int]:
        """Numbers of the buffers that it lies in."""
        if self.addresses is None:
            return {self.start >> BUFFER_SHIFT}
        if not self.addresses.size:
            return set()
        first, last = (int(end(self.addresses)) >> BUFFER_SHIFT for end in (np.min, np.max))
        return {first} if first == last else set(np.unique(self.addresses >> BUFFER_SHIFT).tolist())


def at(addresses: Ints) -> View:
    """The view of elements at these addresses."""
    return View(tuple(addresses.shape), addresses=addresses)


def moved(op: Operator, shape: Shape, inputs: Sequence[View], constant: Callable[[npt.NDArray[np.float32], str], int]) -> View:
    """The result of a `view` operator: addresses, rearranged. constant: places an array in the plan (padding is one cell)."""
    first = inputs[0]
    if op["op"] == "reshape":
        if first.layout is not None and four(shape) == first.layout.extent:
            return replace(first, shape=shape)
        return at(first.elements().reshape(shape))
    if op["op"] == "concat" and op["axis"] == 1 and (whole := _side_by_side(inputs, shape)) is not None:
        return whole
    elements = first.elements()
    match op["op"]:
        case "transpose":
            elements = elements.transpose(op["perm"])
        case "slice":
            elements = elements[tuple(slice(*s) for s in op["slices"])]
        case "concat":
            elements = np.concatenate([view.elements() for view in inputs], axis=op["axis"])
        case "expand":
            elements = np.broadcast_to(elements, shape)
        case "pad" if op["mode"] == "constant":
            cell = constant(np.full(1, op["value"], dtype=np.float32), f"{op.name}/pad")
            elements = np.pad(elements, op["pads"], constant_values=cell)
        case "pad":
            elements = np.pad(elements, op["pads"], mode=op["mode"])
        case other:
            raise LoweringError(f"operator '{op.name}': there is no view called '{other}'")
    assert elements.shape == shape, f"{op.name}: {elements.shape} is not {shape}"
    return at(elements)


def _side_by_side(views: Sequence[View], shape: Shape) -> View | None:
    """Tensors whose channels lie one after the other in a buffer, as one tensor of this shape; None if they do not."""
    first, start, channels = views[0].layout, views[0].start, 0
    for view in views:
        layout = view.layout
        if first is None or layout is None or layout.extent != four(view.shape) or replace(layout, extent=first.extent) != first:
            return None
        if channels % first.block or view.start != start + channels // first.block * first.strides[1]:
            return None
        channels += layout.extent[1]
    assert first is not None
    whole = replace(first, extent=four(shape))
    return View(shape, start, replace(whole, of=0) if whole.blocks == whole.of else whole)
