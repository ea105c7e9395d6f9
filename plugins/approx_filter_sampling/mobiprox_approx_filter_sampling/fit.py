"""Which filter elements to keep, and which weights they then need, so that an operator gives what it gave on calibration inputs.

Least squares, in closed form. With X the patches and Y the wanted outputs, both without their means, and W0 the original weights:

    error(W) = ||Y - X W||^2 + ridge ||W - W0||^2,    ridge = RIDGE * mean over elements of the sum of x^2

where W is zero for what is left out, and the ridge does not count that. The bias is free: it makes up for the means. All of this holds
per group of a convolution; an element that is left out is left out in all groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mobiprox_core.interfaces import Moments

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

VERSION = 1
"""Of what is computed here; part of the key under which results are kept."""

RIDGE = 1e-3

PENDING = 64
"""Eliminations between two updates of the whole inverse: the same sums in another order, as products of matrices."""


def refit(moments: Moments, weight: Floats, kept: Ints) -> tuple[Floats, Floats]:
    """Weights float32[O, T] of the kept elements, and the bias float32[O], of least error.

    weight: the original ones, float32[O, ...]. kept: int64[T], ascending.
    """
    original = _by_group(moments, weight)
    fitted = np.empty((len(original), len(kept), original.shape[2]))
    for block, scatter, hessian in _blocks(moments):
        inside = (kept >= block.start) & (kept < block.stop)
        if inside.any():
            whole, own = kept[inside], kept[inside] - block.start
            missing = moments.cross[:, whole] - scatter[:, own[:, None], own] @ original[:, whole]
            fitted[:, inside] = original[:, whole] + np.linalg.solve(hessian[:, own[:, None], own], missing)
    bias = moments.target - np.einsum("gt,gto->go", moments.mean[:, kept], fitted)
    return fitted.transpose(0, 2, 1).reshape(len(weight), -1).astype(np.float32), bias.ravel().astype(np.float32)


def order(moments: Moments, weight: Floats) -> Ints:
    """All elements, int64[K], in the order in which they are best left out: each time the one without which, when the others are
    fitted again, the error rises least.

    With H the inverse of X'X + ridge that is the element of least |w|^2 / H_ee, summed over the groups; without it, W and H change
    by a step of rank one each. Of equal ones the first goes.
    """
    original = _by_group(moments, weight)
    parts = []
    for block, scatter, hessian in _blocks(moments):
        own = original[:, block]
        inverse = np.asarray(np.linalg.inv(hessian), np.float64)
        best = own + inverse @ (moments.cross[:, block] - scatter @ own)
        parts.append(_Elimination(np.arange(block.start, block.stop), inverse, best))
    count = original.shape[1]
    return np.array([min(parts, key=lambda part: part.least_cost).remove() for _ in range(count)], np.int64)


class _Elimination:
    """The elements of one block that are left, and what it costs to leave out the cheapest of them."""

    def __init__(self, elements: Ints, inverse: Doubles, weight: Doubles) -> None:
        """elements: [K]; inverse: [G, K, K], which it takes over; weight: [G, K, O]."""
        self._elements, self._inverse, self._weight = elements, inverse, weight
        self._gone = np.zeros(len(elements), bool)
        self._begin()

    def _begin(self) -> None:
        """Nothing pending: what is to be taken off, inverse - steps' steps and weight - steps' shares. Norms and diagonal are up to date."""
        groups, size, outputs = self._weight.shape
        self._steps, self._shares = np.empty((groups, PENDING, size)), np.empty((groups, PENDING, outputs))
        self._pending = 0
        self._norms = (self._weight**2).sum(2)
        self._diagonal = np.diagonal(self._inverse, axis1=1, axis2=2).copy()
        self._norms[:, self._gone], self._diagonal[:, self._gone] = np.inf, 1
        self._find()

    def _find(self) -> None:
        cost = np.append((np.maximum(self._norms, 0) / self._diagonal).sum(0), np.inf)  # inf: nothing left
        self._cheapest = int(cost.argmin())
        self.least_cost = float(cost[self._cheapest])

    def remove(self) -> int:
        """Leave out the cheapest element; which one that is."""
        at, n = self._cheapest, self._pending
        steps, shares = self._steps[:, :n], self._shares[:, :n]
        column = self._inverse[:, at] - (steps[:, None, :, at] @ steps)[:, 0]
        row = self._weight[:, at] - (steps[:, None, :, at] @ shares)[:, 0]
        pivot = np.sqrt(np.maximum(column[:, at, None], np.finfo(float).tiny))
        step, share = column / pivot, row / pivot
        # Not a product of matrices: on a busy machine its threads would wait for each other, thousands of times.
        along = np.einsum("gko,go->gk", self._weight, share) - ((shares @ share[:, :, None]).transpose(0, 2, 1) @ steps)[:, 0]
        self._norms += step * (step * (share**2).sum(1, keepdims=True) - 2 * along)
        self._diagonal -= step**2
        self._norms[:, at], self._diagonal[:, at], self._gone[at] = np.inf, 1, True
        self._steps[:, n], self._shares[:, n] = step, share
        self._pending += 1
        element = int(self._elements[at])
        if self._pending == PENDING:
            self._settle()
        else:
            self._find()
        return element

    def _settle(self) -> None:
        """Take off what is pending; drop what is gone when it has become much."""
        back = self._steps.transpose(0, 2, 1)
        self._inverse -= back @ self._steps
        self._weight -= back @ self._shares
        if 8 * self._gone.sum() > len(self._gone):
            left = np.flatnonzero(~self._gone)
            self._inverse, self._weight = self._inverse[:, left[:, None], left], self._weight[:, left]
            self._elements, self._gone = self._elements[left], self._gone[left]
        self._begin()


def _by_group(moments: Moments, weight: Floats) -> Doubles:
    """float32[O, ...] as float64[G, K, O/G]."""
    groups, elements = moments.mean.shape
    return weight.reshape(groups, -1, elements).transpose(0, 2, 1).astype(np.float64)


def _blocks(moments: Moments) -> Iterator[tuple[slice, Doubles, Doubles]]:
    """The elements of each block, X'X, and X'X + ridge."""
    squares = sum(np.trace(scatter, axis1=1, axis2=2) for scatter in moments.scatter) + moments.rows * (moments.mean**2).sum(1)
    ridge = RIDGE * squares / moments.mean.shape[1]
    ridge[ridge <= 0] = 1  # a group that only ever read zeros keeps its weights
    start = 0
    for scatter in moments.scatter:
        size = scatter.shape[1]
        yield slice(start, start + size), scatter, scatter + ridge[:, None, None] * np.eye(size)
        start += size
