"""Rounding weights so that outputs change least: the error of each filter element is made up for by those that are still to be rounded.

With H the scatter matrix of what the filter sees, rounding element i off by e changes outputs least if the later elements j move by
-e * U[i, j] / U[i, i], U the upper Cholesky factor of the inverse of H (Frantar et al., GPTQ, 2023; Hassibi and Stork, 1993).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobiprox_core.interfaces import Moments

from .grid import LARGEST, codes, steps

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]

VERSION = 1
"""Of what is computed here; part of the key under which results are kept."""

RIDGE = 1e-2
"""Added to the diagonal, as a part of its mean: few samples tell little."""

PENDING = 64
"""Elements that are rounded between two updates of all later ones."""


def rounded(moments: Moments, weight: Floats, largest: int = LARGEST) -> tuple[Floats, Floats]:
    """Codes float32[O, K] of weights float32[O, ...], and their steps float32[O]."""
    step = steps(weight, largest)
    groups = len(moments.mean)
    flat = weight.reshape(groups, len(weight) // groups, -1).astype(np.float64)
    result = np.empty(flat.shape, np.float32)
    for g, filters in enumerate(flat):
        own = step.reshape(groups, -1)[g]
        first = 0
        for scatter in moments.scatter:  # elements of different blocks count as uncorrelated
            last = first + scatter.shape[1]
            result[g, :, first:last] = _pushed_on(filters[:, first:last], own, scatter[g], largest)
            first = last
    return result.reshape(len(weight), -1), step


def representable(weight: Floats, scatter: Doubles, largest: int = LARGEST) -> Floats:
    """Weights float32[O, T], rounded; scatter: float64[G, T, T]."""
    step = steps(weight, largest)
    filters = weight.reshape(len(scatter), -1, weight.shape[1]).astype(np.float64)
    own = step.reshape(len(scatter), -1)
    rounded = np.stack([_pushed_on(*group, largest) for group in zip(filters, own, scatter, strict=True)])
    return rounded.reshape(weight.shape) * step[:, None]


def _pushed_on(weight: Doubles, step: Floats, scatter: Doubles, largest: int) -> Floats:
    count = len(scatter)
    ridge = RIDGE * float(np.trace(scatter)) / count or 1.0
    factor = np.linalg.cholesky(np.linalg.inv(scatter + ridge * np.eye(count))).T  # upper: inverse = factor' factor
    left, result = weight.copy(), np.empty(weight.shape, np.float32)
    for start in range(0, count, PENDING):
        stop = min(start + PENDING, count)
        errors = np.empty((len(weight), stop - start))
        for i in range(start, stop):
            result[:, i] = codes(left[:, i].astype(np.float32), step, largest)
            error = (left[:, i] - result[:, i].astype(np.float64) * step) / factor[i, i]
            left[:, i + 1 : stop] -= error[:, None] * factor[i, i + 1 : stop]
            errors[:, i - start] = error
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return result
