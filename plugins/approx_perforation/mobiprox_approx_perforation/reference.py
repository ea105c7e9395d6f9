"""What perforation means, in NumPy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .knobs import skipped

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


def perforate_rows(y: Floats, stride: int, offset: int) -> Floats:
    """Replace rows offset, offset + stride, ... by the mean of their neighbours; a border row copies its one neighbour.

    y: float32[N, O, H, W], the exact result before residual and activation; stride >= 2. A single row stays as it is: there is
    nothing to interpolate from.
    """
    return _interpolate(y, skipped(y.shape[2], stride, offset), axis=2)


def perforate_columns(y: Floats, stride: int, offset: int) -> Floats:
    """The same for columns; y: float32[N, O, H, W]."""
    return _interpolate(y, skipped(y.shape[3], stride, offset), axis=3)


def _interpolate(y: Floats, lines: Iterable[int], axis: int) -> Floats:
    lines = np.fromiter(lines, np.int64)
    last = y.shape[axis] - 1
    before = np.where(lines == 0, 1, lines - 1)
    after = np.where(lines == last, last - 1, lines + 1)
    out = y.copy()
    out[_at(lines, axis)] = (y[_at(before, axis)] + y[_at(after, axis)]) / np.float32(2)
    return out


def _at(lines: npt.NDArray[np.int64], axis: int) -> tuple[slice | npt.NDArray[np.int64], ...]:
    return (*[slice(None)] * axis, lines)
