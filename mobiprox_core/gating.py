"""Gates: a cheap level's answer stands where it is sure enough; otherwise the same input runs again at a dearer level.

For strategies that return `Rerun`. A threshold per level, chosen from how the level agreed with level 0 (`Agreement`)::

    thresholds = gates(levels, lambda agreement, k: agreement.differing[k] <= 0.01)
    level, cost = cheapest(levels, thresholds)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .errors import UsageError
from .interfaces import Agreement, LevelCalibration

CLOSED = math.inf
"""The threshold of a level whose answers never stand."""


def gates(levels: Sequence[LevelCalibration], admits: Callable[[Agreement, int], bool], again: int = 0) -> tuple[float, ...]:
    """Per level the least confidence with which its answer stands; 0 for those that are no cheaper than `again`, where inputs run again.

    admits: whether the k-th threshold of an agreement keeps the promise. What differs never rises with the threshold, so the first
    that keeps it also repeats least. Raises UsageError where the levels were calibrated without agreement.
    """
    return tuple(0.0 if number <= again else _gate(number, level, admits) for number, level in enumerate(levels))


def known_agreement(number: int, level: LevelCalibration) -> Agreement:
    """The agreement of a level. Raises UsageError where it was calibrated without."""
    if level.agreement is None:
        raise UsageError(
            f"the calibration does not tell how level {number} agrees with the exact network",
            mend="make the bundle again with 'mobiprox run'",
        )
    return level.agreement


def checked(strategy: str, level: int, levels: Sequence[LevelCalibration]) -> int:
    """A level that a user named. Raises UsageError where there is none of that number."""
    if not 0 <= level < len(levels):
        raise UsageError(f"strategy {strategy}: there is no level {level}", mend=f"levels go from 0 (exact) to {len(levels) - 1}")
    return level


def _gate(number: int, level: LevelCalibration, admits: Callable[[Agreement, int], bool]) -> float:
    agreement = known_agreement(number, level)
    return next((threshold for k, threshold in enumerate(agreement.thresholds) if admits(agreement, k)), CLOSED)


def cheapest(levels: Sequence[LevelCalibration], thresholds: Sequence[float], again: int = 0) -> tuple[int, float]:
    """The level to begin with, and the mean cost (level 0 = 1) to expect with it; `again` itself where no gate saves anything."""
    costs = [(level.relative_cost, number) for number, level in enumerate(levels) if number == again]
    for number, (level, threshold) in enumerate(zip(levels, thresholds, strict=True)):
        if number > again and threshold < CLOSED:
            rejected = 1 - accepted(known_agreement(number, level), threshold)
            costs.append((level.relative_cost + rejected * levels[again].relative_cost, number))
    cost, number = min(costs)
    return number, cost


def accepted(agreement: Agreement, threshold: float) -> float:
    """Share of calibration samples at least that sure; between two thresholds of the grid, that of the higher."""
    return next((share for known, share in zip(agreement.thresholds, agreement.accepted, strict=True) if known >= threshold), 0.0)
