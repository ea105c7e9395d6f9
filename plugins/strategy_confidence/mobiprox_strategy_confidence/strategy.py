"""A prediction surer than its class usually is when right asks for cheaper; one that looks like a mistake asks for dearer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import LevelCalibration, Observation, Options
from mobiprox_core.stepping import INCREASE_OPTION, StepRule

LOW = 0.5
HIGH = 0.75
SHRINKAGE = 5.0


class ConfidenceState(NamedTuple):
    level: int = 0
    step: int = 1


class Band(NamedTuple):
    """Confidences below `low` ask for a dearer level, above `high` for a cheaper one; between, the level is held."""

    low: float
    high: float


DISTRUST = Band(math.inf, math.inf)
"""Every confidence asks for a dearer level."""


@dataclass(frozen=True, slots=True)
class ConfidenceStrategy:
    """bands: per level, per predicted class."""

    rule: StepRule
    bands: tuple[tuple[Band, ...], ...]

    def start(self) -> ConfidenceState:
        return ConfidenceState()

    def step(self, state: ConfidenceState, observation: Observation) -> tuple[ConfidenceState, int]:
        level, step = state
        low, high = self.bands[observation.level][observation.label]
        if observation.confidence < low:
            level, step = self.rule.less(level)
        elif observation.confidence > high:
            level, step = self.rule.more(level, step)
        return ConfidenceState(level, step), level


class ConfidenceDriven:
    """Offers the strategy ``confidence``."""

    name = "confidence"
    summary = "more approximation while the network is sure of its class, half the level when it looks mistaken"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "increase": dict(INCREASE_OPTION),
            "low": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": LOW,
                "description": "share of the way from the mean confidence of wrong to that of right predictions, below which to step back",
            },
            "high": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": HIGH,
                "description": "the same share, above which to approximate more",
            },
            "shrinkage": {
                "type": "number",
                "minimum": 0,
                "default": SHRINKAGE,
                "description": "how many samples the mean confidence of the whole level counts as in that of each class",
            },
        },
        "required": [],
    }

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> ConfidenceStrategy:
        """Raises UsageError where `low` lies above `high`."""
        low, high = float(options.get("low", LOW)), float(options.get("high", HIGH))
        if low > high:
            raise UsageError(f"strategy confidence: low ({low}) lies above high ({high})", mend="choose low <= high, e.g. 0.5 and 0.75")
        shrinkage = float(options.get("shrinkage", SHRINKAGE))
        bands = tuple(_bands(level, low, high, shrinkage) for level in levels)
        return ConfidenceStrategy(StepRule.of(options, len(levels)), bands)


def _bands(level: LevelCalibration, low: float, high: float, shrinkage: float) -> tuple[Band, ...]:
    """One band per class, between its mean confidences when wrong and when right, each drawn to the level's where samples are few.

    A level that was never wrong on the tuning data gets the confidence of a blind guess as the mean of its mistakes. Where a class is
    as sure when wrong as when right, the level's own band serves; a level of which that is true (or that has no hits) says nothing
    about itself by its confidence, and is left for a dearer one.
    """
    right, wrong = level.overall.correct_mean, level.overall.wrong_mean
    if right is None:
        return (DISTRUST,) * len(level.classes)
    if wrong is None:
        wrong = 1 / len(level.classes)
    fallback = _between(wrong, right, low, high) or DISTRUST
    return tuple(
        _between(
            _shrunk(own.wrong_count, own.wrong_mean, wrong, shrinkage),
            _shrunk(own.correct_count, own.correct_mean, right, shrinkage),
            low,
            high,
        )
        or fallback
        for own in level.classes
    )


def _shrunk(count: int, mean: float | None, overall: float, shrinkage: float) -> float:
    """The mean of `count` samples and `shrinkage` more that are as those of the whole level."""
    return overall if mean is None else (count * mean + shrinkage * overall) / (count + shrinkage)


def _between(wrong: float, right: float, low: float, high: float) -> Band | None:
    """None where the band would be empty or upside down."""
    return Band(wrong + low * (right - wrong), wrong + high * (right - wrong)) if right > wrong else None
