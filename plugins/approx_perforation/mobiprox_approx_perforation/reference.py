"""What perforation means, in NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .knobs import skipped

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]


def perforate_rows(y: Floats, stride: int, offset: int, fill: Floats | None = None) -> Floats:
    """Replace rows offset, offset + stride, ... by the mean of their neighbours; a border row has its one neighbour twice.

    y: float32[N, O, H, W], the exact result before residual and activation; stride >= 2. A single row stays as it is: there is
    nothing to interpolate from. fill: float32[S, 3, O], of each skipped row and channel the weights of the rows before and after, and what is
    added; None for their mean.
    """
    return _interpolate(y, skipped(y.shape[2], stride, offset), 2, fill)


def perforate_columns(y: Floats, stride: int, offset: int, fill: Floats | None = None) -> Floats:
    """The same for columns; y: float32[N, O, H, W]."""
    return _interpolate(y, skipped(y.shape[3], stride, offset), 3, fill)


def neighbours(length: int, lines: Iterable[int]) -> tuple[Ints, Ints, Ints]:
    """The lines, those before and those after them, in an axis of a length; the first and the last one have their one neighbour twice."""
    skipped = np.fromiter(lines, np.int64)
    before = np.where(skipped == 0, 1, skipped - 1)
    after = np.where(skipped == length - 1, length - 2, skipped + 1)
    return skipped, before, after


def _interpolate(y: Floats, lines: Iterable[int], axis: int, fill: Floats | None) -> Floats:
    skipped, before, after = (_at(which, axis) for which in neighbours(y.shape[axis], lines))
    out = y.copy()
    if fill is None:
        out[skipped] = (y[before] + y[after]) / np.float32(2)
    else:
        first, second, added = np.expand_dims(fill.transpose(1, 2, 0), 5 - axis)  # as out[skipped], but for the images
        out[skipped] = y[before] * first + y[after] * second + added
    return out


def _at(lines: npt.NDArray[np.int64], axis: int) -> tuple[slice | npt.NDArray[np.int64], ...]:
    return (*[slice(None)] * axis, lines)
