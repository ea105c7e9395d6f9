"""Replays: a strategy walks a recorded trace whose outputs are known at every level, at any costs, as often as wanted.

::

    trace = Trace.of(outputs_per_level, levels, labels)      # outputs float32[N, K] per level, computed once
    walked = trace.replay(strategy)                          # accuracy, agreement, relative cost, every step
    tried = sweep(trace, offer, levels, {"low": [0.3, 0.5]}) # every combination of options, and which are on the front
    chosen = cheapest(tried, max_loss_pp=1)                  # by the upper bound of its loss
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .adaptation import Groups, Labels, check_outputs, probabilities
from .errors import DataError, PluginError, UsageError
from .interfaces import LevelCalibration, Observation, Rerun, Strategy, StrategyOffer

if TYPE_CHECKING:
    from .interfaces import Floats


@dataclass(frozen=True, slots=True)
class Paired:
    """How much more often one walk is right than another over the same trace, in percentage points, with a 95 % interval.

    units: what was compared pairwise: groups where the trace has at least two, else samples.
    """

    difference_pp: float
    low_pp: float
    high_pp: float
    units: int

    def to_json(self) -> dict[str, Any]:
        return {"difference_pp": self.difference_pp, "low_pp": self.low_pp, "high_pp": self.high_pp, "units": self.units}


def paired(correct: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], groups: Groups | None = None) -> Paired:
    """correct[N] against other[N]. Samples of one group (user, speaker) may depend on each other as they like: the interval is that of
    Student over the groups' sums (cluster-robust variance of a mean). Of two walks that are never told apart it is a point.
    """
    gain = correct.astype(np.float64) - other
    mean = float(gain.mean())
    names, group_of = (np.zeros(0), np.zeros(0)) if groups is None else np.unique(groups, return_inverse=True)
    excess = np.bincount(group_of, weights=gain - mean) if len(names) > 1 else gain - mean
    units = len(excess)
    if units == 1:
        return Paired(100 * mean, -100.0, 100.0, 1)
    half = student(units - 1) * sqrt(units / (units - 1) * float((excess**2).sum())) / len(gain)
    return Paired(100 * mean, 100 * max(mean - half, -1.0), 100 * min(mean + half, 1.0), units)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, a Cornish-Fisher expansion (error < 0.2 %) beyond."""
    if freedom <= 2:
        return (12.7062047, 4.30265273)[freedom - 1]
    z, n = 1.959963985, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n ** (power + 1) for power, term in enumerate(terms))


@dataclass(frozen=True, slots=True)
class StaticLevel:
    """One level kept over the whole trace. accuracy: against the labels, None without; agreement: with level 0's predictions."""

    level: int
    accuracy: float | None
    agreement: float
    relative_cost: float

    def to_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "accuracy": self.accuracy,
            "agreement": self.agreement,
            "relative_cost": self.relative_cost,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """A strategy's walk over a trace of N samples, and what keeping one level would have given.

    level, label, confidence: [N], which level's prediction stands and what it is, confidence calibrated. cost: float64[N], of all
    runs of a sample, relative to one of level 0. exact_label: [N], level 0's predictions. correct, exact_correct: bool[N], this walk's
    and level 0's predictions against the labels, or against exact_label where there are none. notes: what the trace says of each sample.
    accuracy: share of correct predictions, None without labels; agreement: share equal to level 0's.
    relative_cost: mean of `cost`; reruns: how many samples ran more than once; switches: how often the level changed.
    best_static: the most accurate single level that costs no more than the walk did. against_exact, against_static: how much more
    often the walk is right than level 0, and than best_static (agrees with level 0, without labels).
    """

    level: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64]
    exact_label: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    exact_correct: npt.NDArray[np.bool_]
    accuracy: float | None
    agreement: float
    relative_cost: float
    reruns: int
    static: tuple[StaticLevel, ...]
    best_static: StaticLevel
    against_exact: Paired
    against_static: Paired
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        return len(self.level)

    @property
    def mean_level(self) -> float:
        return float(self.level.mean())

    @property
    def switches(self) -> int:
        return int(np.count_nonzero(np.diff(self.level)))

    def to_json(self) -> dict[str, Any]:
        """Numbers first, then the whole walk under ``timeline``."""
        return {
            "accuracy": self.accuracy,
            "agreement": self.agreement,
            "relative_cost": self.relative_cost,
            "mean_level": self.mean_level,
            "steps": self.steps,
            "switches": self.switches,
            "reruns": self.reruns,
            "static": [s.to_json() for s in self.static],
            "best_static": self.best_static.to_json(),
            "against_exact": self.against_exact.to_json(),
            "against_static": self.against_static.to_json(),
            "timeline": {
                "level": self.level.tolist(),
                "label": self.label.tolist(),
                "confidence": [round(c, 4) for c in self.confidence.tolist()],
                "cost": [round(c, 4) for c in self.cost.tolist()],
                "exact_label": self.exact_label.tolist(),
                "correct": self.correct.tolist(),
                "exact_correct": self.exact_correct.tolist(),
                "notes": list(self.notes),
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A trace of N samples at L levels, ready to be walked many times.

    predicted: int64[L, N]; confidences: float64[L, N], calibrated; costs: float64[L], relative to level 0. labels: int64[N] or None;
    groups: str[N] or None, who each sample comes from. surroundings: one mapping per sample to fields of `Observation`
    (battery, hour, ...), or none.
    """

    predicted: npt.NDArray[np.int64]
    confidences: npt.NDArray[np.float64]
    costs: npt.NDArray[np.float64]
    labels: Labels | None = None
    groups: Groups | None = None
    notes: tuple[str, ...] = ()
    surroundings: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        outputs_per_level: Sequence[Floats],
        levels: Sequence[LevelCalibration],
        labels: Labels | None = None,
        *,
        already_softmax: bool = False,
        notes: Sequence[str] = (),
        groups: Groups | None = None,
        costs: Sequence[float] | None = None,
        surroundings: Sequence[Mapping[str, Any]] = (),
    ) -> Trace:
        """From outputs[N, K] of every level. costs: one per level in any unit (milliseconds, millijoule); the calibration's if left out.

        Raises DataError for a trace that does not fit.
        """
        check_outputs(outputs_per_level, labels, len(levels))
        samples = np.arange(len(outputs_per_level[0]))
        for name, given in (("groups", groups), ("surroundings", surroundings or None)):
            if given is not None and len(given) != len(samples):
                raise DataError(f"{len(given)} {name} for a trace of {len(samples)} samples", mend=f"give one of the {name} per sample")
        paid = np.array([level.relative_cost for level in levels] if costs is None else costs, dtype=np.float64)
        if paid.shape != (len(levels),) or not (np.isfinite(paid).all() and (paid > 0).all()):
            raise DataError(f"{len(paid)} costs for {len(levels)} levels", mend="give one cost above 0 per level, the exact one first")
        predicted = np.stack([outputs.argmax(axis=1) for outputs in outputs_per_level])
        confidences = [
            probabilities(outputs, already_softmax, level.temperature)[samples, own]
            for outputs, level, own in zip(outputs_per_level, levels, predicted, strict=True)
        ]
        return cls(predicted, np.stack(confidences), paid / paid[0], labels, groups, tuple(map(str, notes)), tuple(surroundings))

    def replay(self, strategy: Strategy) -> Replay:
        """Walk the trace. The first sample runs at level 0; each later level was chosen from the samples before it.

        Raises PluginError for a strategy that leaves the levels, or repeats a sample without getting dearer.
        """
        walked, paid, reruns = self._walk(strategy)
        samples = np.arange(len(walked))
        exact_label, label = self.predicted[0], self.predicted[walked, samples]
        truth = exact_label if self.labels is None else self.labels
        relative_cost = float(paid.mean())
        static = self.static()
        # The tolerance admits the walk that never left one level, whose mean cost is rounded.
        affordable = [s for s in static if s.relative_cost <= relative_cost * (1 + 1e-9)]
        best = max(affordable, key=lambda s: (s.agreement if s.accuracy is None else s.accuracy, -s.relative_cost))
        correct, exact_correct = label == truth, exact_label == truth
        return Replay(
            level=walked,
            label=label,
            confidence=self.confidences[walked, samples],
            cost=paid,
            exact_label=exact_label,
            correct=correct,
            exact_correct=exact_correct,
            accuracy=None if self.labels is None else float(correct.mean()),
            agreement=float((label == exact_label).mean()),
            relative_cost=relative_cost,
            reruns=reruns,
            static=static,
            best_static=best,
            against_exact=paired(correct, exact_correct, self.groups),
            against_static=paired(correct, self.predicted[best.level] == truth, self.groups),
            notes=self.notes,
        )

    def static(self) -> tuple[StaticLevel, ...]:
        """Every level kept over the whole trace."""
        return tuple(
            StaticLevel(
                index,
                None if self.labels is None else float((own == self.labels).mean()),
                float((own == self.predicted[0]).mean()),
                float(self.costs[index]),
            )
            for index, own in enumerate(self.predicted)
        )

    def _walk(self, strategy: Strategy) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int]:
        """Level and cost of every sample, and how many ran more than once; on Python numbers, because the loop is one of Python."""
        labels, confidences, costs = self.predicted.tolist(), self.confidences.tolist(), self.costs.tolist()
        step, count, walked, paid, reruns = strategy.step, len(labels), [], [], 0
        state, chosen = strategy.start(), 0
        for sample, around in enumerate(self.surroundings or [{}] * self.predicted.shape[1]):
            level, cost = int(chosen), costs[chosen]
            state, chosen = step(state, Observation(labels[level][sample], confidences[level][sample], level, **around))
            if isinstance(chosen, Rerun):
                reruns += 1
            while isinstance(chosen, Rerun):
                level = checked_level(strategy, chosen, count, sample, level)
                cost += costs[level]
                again = Observation(labels[level][sample], confidences[level][sample], level, **around, rerun=True)
                state, chosen = step(state, again)
            checked_level(strategy, chosen, count, sample)
            walked.append(level)
            paid.append(cost)
        return np.array(walked, dtype=np.int64), np.array(paid), reruns


def checked_level(strategy: Strategy, chosen: int, count: int, sample: int, ran: int | None = None) -> int:
    """The level that a strategy chose after a sample; a rerun must be dearer than the level that ran, lest it never ends."""
    if not 0 <= chosen < count:
        raise PluginError(f"{type(strategy).__name__} chose level {int(chosen)} after sample {sample}; there are levels 0 to {count - 1}")
    if ran is not None and chosen >= ran:
        raise PluginError(
            f"{type(strategy).__name__} wants sample {sample} again at level {int(chosen)} after level {ran}, which is no dearer",
            mend="a strategy may only return Rerun(level) with a level below the one that ran",
        )
    return int(chosen)


def replay(
    strategy: Strategy,
    outputs_per_level: Sequence[Floats],
    levels: Sequence[LevelCalibration],
    labels: Labels | None = None,
    *,
    already_softmax: bool = False,
    notes: Sequence[str] = (),
    groups: Groups | None = None,
) -> Replay:
    """Walk a trace whose outputs[N, K] are known for every level once; `Trace` walks it many times."""
    return Trace.of(outputs_per_level, levels, labels, already_softmax=already_softmax, notes=notes, groups=groups).replay(strategy)


# -------------------------------------------------------------------------------------------------------------------------- sweeps


@dataclass(frozen=True, slots=True)
class Swept:
    """One combination of options over a trace. on_front: no other is at least as good in both, cost and accuracy, and better in one.

    accuracy: against the labels, None without; then agreement counts. loss_upper_pp: how much less often than level 0 it is right, at the
    upper end of the interval, or what so few samples could not have shown where that is more.
    """

    options: Mapping[str, Any]
    accuracy: float | None
    agreement: float
    relative_cost: float
    reruns: int
    against_exact: Paired
    against_static: Paired
    loss_upper_pp: float
    on_front: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "options": dict(self.options),
            "accuracy": self.accuracy,
            "agreement": self.agreement,
            "relative_cost": self.relative_cost,
            "reruns": self.reruns,
            "against_exact": self.against_exact.to_json(),
            "against_static": self.against_static.to_json(),
            "loss_upper_pp": self.loss_upper_pp,
            "on_front": self.on_front,
        }


def sweep(
    trace: Trace,
    offer: StrategyOffer,
    levels: Sequence[LevelCalibration],
    grid: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Swept, ...]:
    """A strategy with every combination of the options in `grid`, beside the fixed `options`; by rising cost.

    Combinations that the strategy refuses (a lower limit above the upper one) are left out; raises UsageError, with the reason of the
    last, where it refuses all.
    """
    tried, refusal = [], None
    unseen_pp = 100 * (
        1 - 0.025 ** (1 / trace.predicted.shape[1])
    )  # a loss no rarer than this is seen at least once in 97.5 % of such traces
    for values in itertools.product(*grid.values()):
        chosen = {**options, **dict(zip(grid, values, strict=True))}
        try:
            strategy = offer.create(chosen, levels)
        except UsageError as error:
            refusal = error
            continue
        walked = trace.replay(strategy)
        exact, static = walked.against_exact, walked.against_static
        upper = max(-exact.low_pp, unseen_pp)
        tried.append(Swept(chosen, walked.accuracy, walked.agreement, walked.relative_cost, walked.reruns, exact, static, upper))
    if not tried:
        raise refusal or UsageError("there is nothing to sweep over", mend="give at least one value of one option")
    found, best = [], -1.0
    for point in sorted(tried, key=lambda p: (p.relative_cost, -_quality(p))):
        found.append(replace(point, on_front=_quality(point) > best))
        best = max(best, _quality(point))
    return tuple(found)


def cheapest(points: Sequence[Swept], max_loss_pp: float) -> Swept | None:
    """The combination that costs least of those whose upper bound of the loss is at most that; None where there is none.

    The bound, because of the losses of many combinations the smallest are lucky ones.
    """
    kept = [point for point in points if point.loss_upper_pp <= max_loss_pp]
    return min(kept, key=lambda point: (point.relative_cost, point.loss_upper_pp), default=None)


def _quality(point: Swept) -> float:
    return point.agreement if point.accuracy is None else point.accuracy
