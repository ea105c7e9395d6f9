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


def order(moments: Moments, weight: Floats, units: Ints | None = None) -> Ints:
    """All elements, int64[K], in the order in which they are best left out: each time the unit without which, when the others are fitted
    again, the error rises least.

    units: int64[K], which elements are left out together; None: each alone. A unit that lies in several blocks is one in each.

    With H the inverse of X'X + ridge that is the unit u of least tr(w' H_uu^-1 w), w its weights, summed over the groups; without its
    elements, one after another, W and H change by steps of rank one. Of equal ones the first goes.
    """
    original = _by_group(moments, weight)
    count = original.shape[1]
    units = np.arange(count) if units is None else units
    parts = []
    for block, scatter, hessian in _blocks(moments):
        own = original[:, block]
        inverse = np.asarray(np.linalg.inv(hessian), np.float64)
        best = own + inverse @ (moments.cross[:, block] - scatter @ own)
        parts.append(_Elimination(np.arange(block.start, block.stop), inverse, best, _members(units[block])))
    removed: list[int] = []
    while len(removed) < count:
        removed += min(parts, key=lambda part: part.least_cost).remove()
    return np.array(removed, np.int64)


def _members(units: Ints) -> Ints:
    """int64[U, n]: the places of every unit's elements, -1 behind the last. units: int64[K]."""
    _, firsts, own = np.unique(units, return_index=True, return_inverse=True)
    sizes = np.bincount(own)
    members = np.full((len(sizes), sizes.max()), -1)
    places = np.argsort(own, kind="stable")
    members[np.arange(sizes.max()) < sizes[:, None]] = places
    return members[np.argsort(firsts)]


class _Elimination:
    """The elements of one block that are left, and what it costs to leave out the cheapest unit of them."""

    def __init__(self, elements: Ints, inverse: Doubles, weight: Doubles, members: Ints) -> None:
        """elements: [K]; inverse: [G, K, K], which it takes over; weight: [G, K, O]; members: [U, n], places, -1 for none."""
        self._elements, self._inverse, self._weight, self._members = elements, inverse, weight, members
        self._gone = np.zeros(len(elements), bool)
        self._begin()

    def _begin(self) -> None:
        """Nothing pending: what is to be taken off, inverse - steps' steps and weight - steps' shares. What costs follow from is up to date."""
        groups, size, outputs = self._weight.shape
        most = PENDING + self._members.shape[1] - 1
        self._steps, self._shares = np.empty((groups, most, size)), np.empty((groups, most, outputs))
        self._pending = 0
        self._lacking = self._members < 0
        at, lacking = np.maximum(self._members, 0), self._lacking
        missing = lacking[:, :, None] | lacking[:, None, :]
        weight = np.where(lacking[:, :, None], 0, self._weight[:, at])  # [G, U, n, O]
        self._products = weight @ weight.transpose(0, 1, 3, 2)
        self._inner = np.where(missing, np.eye(at.shape[1]), self._inverse[:, at[:, :, None], at[:, None, :]])
        self._find()

    def _find(self) -> None:
        alone = self._members.shape[1] == 1
        costs = np.maximum(self._products, 0) / self._inner if alone else np.linalg.solve(self._inner, self._products)
        cost = np.append(np.trace(costs, axis1=2, axis2=3).sum(0), np.inf)  # inf: nothing left
        self._cheapest = int(cost.argmin())
        self.least_cost = float(cost[self._cheapest])

    def remove(self) -> list[int]:
        """Leave out the cheapest unit; which elements those are."""
        unit = self._cheapest
        places = [int(at) for at in self._members[unit] if at >= 0]
        for at in places:
            self._remove(at)
        elements = [int(self._elements[at]) for at in places]
        self._gone[places] = True
        kept = np.arange(len(self._members)) != unit
        self._members, self._lacking = self._members[kept], self._lacking[kept]
        self._products, self._inner = self._products[:, kept], self._inner[:, kept]
        if self._pending >= PENDING:
            self._settle()
        else:
            self._find()
        return elements

    def _remove(self, at: int) -> None:
        n = self._pending
        steps, shares = self._steps[:, :n], self._shares[:, :n]
        column = self._inverse[:, at] - (steps[:, None, :, at] @ steps)[:, 0]
        row = self._weight[:, at] - (steps[:, None, :, at] @ shares)[:, 0]
        pivot = np.sqrt(np.maximum(column[:, at, None], np.finfo(float).tiny))
        step, share = column / pivot, row / pivot
        # Not a product of matrices: on a busy machine its threads would wait for each other, thousands of times.
        along = np.einsum("gko,go->gk", self._weight, share) - ((shares @ share[:, :, None]).transpose(0, 2, 1) @ steps)[:, 0]
        own, theirs = (np.where(self._lacking, 0, of[:, self._members]) for of in (step, along))  # [G, U, n]
        outer = own[..., :, None] * own[..., None, :]
        crossed = own[..., :, None] * theirs[..., None, :]
        self._products += outer * (share**2).sum(1)[:, None, None, None] - crossed - crossed.swapaxes(2, 3)
        self._inner -= outer
        self._steps[:, n], self._shares[:, n] = step, share
        self._pending += 1

    def _settle(self) -> None:
        """Take off what is pending; drop what is gone when it has become much."""
        steps, shares = self._steps[:, : self._pending], self._shares[:, : self._pending]
        back = steps.transpose(0, 2, 1)
        self._inverse -= back @ steps
        self._weight -= back @ shares
        if 8 * self._gone.sum() > len(self._gone):
            left = np.flatnonzero(~self._gone)
            self._members = np.where(self._members < 0, -1, np.searchsorted(left, self._members))
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
