"""Quality of service: what a configuration loses against the exact network, in the unit of a measure, and how sure that is.

Everything is computed from statistics of single samples (`interfaces.Metric`), so that parts of the data, one user alone or one class
alone, cost no inference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .adaptation import probabilities
from .interfaces import Metric, Options, Samples, Truth
from .measurement import Loss

if TYPE_CHECKING:
    from .interfaces import Floats

Statistics = npt.NDArray[np.float64]
"""float64[N, S]: one row for each sample; rows of NaN where an output is not finite."""

FEWEST = 5
"""Samples of a class or group, at least, for it to be looked at alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """One class or one group alone. error: standard error of the loss."""

    name: str
    loss: float
    error: float
    samples: int


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A measure over one split of the data."""

    metric: Metric
    options: Options
    samples: Samples
    confidence: float = 0.95
    already_softmax: bool = False

    def statistics(self, outputs: Floats, exact: Floats, index: npt.NDArray[np.int64]) -> Statistics:
        """Of outputs[n, K] and the exact ones, of the samples of an index."""
        finite = np.asarray(np.isfinite(outputs).all(axis=1))
        labels, targets = self.samples.labels, self.samples.targets
        truth = Truth(
            exact,
            None if labels is None else labels[index],
            None if targets is None else targets[index].reshape(len(index), -1),
        )
        rows = np.asarray(self.metric.statistics(np.where(finite[:, None], outputs, 0), truth, self.options), dtype=np.float64)
        rows[~finite] = np.nan
        return rows

    def divergence(self, outputs: Floats, exact: Floats) -> npt.NDArray[np.float64]:
        """float64[N]: how far outputs [N, K] are from the exact ones, whatever the measure; NaN where they are not finite."""
        return divergence(exact, outputs, self.already_softmax) if self.metric.classifies else squared_error(exact, outputs)

    def score(self, rows: Statistics) -> float:
        return float(self.metric.score(rows.mean(axis=0), self.options))

    def loss(self, exact: Statistics, rows: Statistics, index: npt.NDArray[np.int64] | None = None) -> Loss:
        """Of a configuration, from its statistics and those of the exact network on the same samples (all, or those of the index).

        The variance is that of a jackknife: what the loss would be without one sample, or without one group. Where there are groups the
        wider of the two counts, with Student's quantile for their number: samples of one user are alike.
        """
        if not np.isfinite(rows).all():
            return Loss(inf, inf, inf)
        count = len(rows)
        value = self.lost(exact.mean(axis=0), rows.mean(axis=0))
        widths = [(self._variance(exact, rows, np.arange(count)) + (self.metric.grain / (count + 2)) ** 2, inf)]
        if self.samples.groups is not None:
            names, group = np.unique(self.samples.groups if index is None else self.samples.groups[index], return_inverse=True)
            if len(names) > 1:
                widths.append((self._variance(exact, rows, group), len(names) - 1))
        ci = max(sqrt(variance) * student(0.975, freedom) for variance, freedom in widths)
        margin = max(sqrt(2 * variance) * student(self.confidence, freedom) for variance, freedom in widths)
        return Loss(value, ci, value + margin)

    def parts(self, exact: Statistics, rows: Statistics) -> Iterator[Part]:
        """The loss of every class (where there are labels, and the measure is of classes) and of every group, each alone."""
        labels, groups = self.samples.labels, self.samples.groups
        kinds = []
        if labels is not None and self.metric.classifies:
            names = self.samples.classes or tuple(map(str, range(int(labels.max()) + 1)))
            kinds.append([(f"class {names[label]}", labels == label) for label in np.unique(labels)])
        if groups is not None:
            kinds.append([(f"group {name}", groups == name) for name in np.unique(groups)])
        for name, chosen in (part for kind in kinds for part in kind):
            count = int(chosen.sum())
            if count >= FEWEST:
                own, other = exact[chosen], rows[chosen]
                variance = self._variance(own, other, np.arange(count)) + (self.metric.grain / (count + 2)) ** 2
                yield Part(name, self.lost(own.mean(axis=0), other.mean(axis=0)), sqrt(variance), count)

    def lost(self, exact: Statistics, means: Statistics) -> float:
        """From means of statistics, float64[S] each."""
        sign = 1 if self.metric.higher_is_better else -1
        return sign * float(self.metric.score(exact, self.options) - self.metric.score(means, self.options))

    def _variance(self, exact: Statistics, rows: Statistics, unit: npt.NDArray[np.intp]) -> float:
        """Of the loss, by leaving out one unit at a time. unit: int[N], the number of the one that each sample is of, from 0."""
        count, units = len(rows), int(unit.max()) + 1
        if units < 2:
            return 0.0
        left = (count - np.bincount(unit))[:, None]

        def without(own: Statistics) -> Statistics:
            sums = np.stack([np.bincount(unit, weights=column) for column in own.T], axis=1)
            return np.asarray(self.metric.score((own.sum(axis=0) - sums) / left, self.options))

        losses = without(exact) - without(rows)
        return float((units - 1) / units * np.sum((losses - losses.mean()) ** 2))


def divergence(exact: Floats, output: Floats, already_softmax: bool = False) -> npt.NDArray[np.float64]:
    """float64[N]: KL(exact || output) of the class distributions, in nats; outputs are [N, K]."""
    p, q = (np.maximum(probabilities(scores, already_softmax), 1e-30) for scores in (exact, output))
    return np.asarray(np.maximum(np.sum(p * (np.log(p) - np.log(q)), axis=1), 0.0))


def squared_error(exact: Floats, output: Floats) -> npt.NDArray[np.float64]:
    """float64[N]: mean squared error of each sample, relative to the variance of all exact outputs."""
    variance = float(np.var(exact, dtype=np.float64)) or float(np.mean(np.square(exact, dtype=np.float64))) or 1.0
    return np.asarray(np.mean(np.square(output.astype(np.float64) - exact), axis=1) / variance)


def student(probability: float, freedom: float) -> float:
    """Quantile of Student's distribution: exact for 1 and 2 degrees of freedom and for infinity, else to 1 %.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    a = 2 * probability - 1
    if freedom == 1:
        return float(np.tan(np.pi / 2 * a))
    if freedom == 2:
        return a / sqrt(2 * probability * (1 - probability))
    z = NormalDist().inv_cdf(probability)
    if not isfinite(freedom):
        return z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
