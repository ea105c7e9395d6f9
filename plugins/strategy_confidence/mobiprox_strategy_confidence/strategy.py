"""A prediction surer than its class usually is when right asks for cheaper; one that looks like a mistake asks for dearer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Options
from mobiprox_core.stepping import INCREASE_OPTION, StepRule

LOW = 0.5
HIGH = 0.75
MIN_COUNT = 5


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
            "min_count": {
                "type": "integer",
                "minimum": 1,
                "default": MIN_COUNT,
                "description": "right and wrong predictions of a class needed to trust its own means",
            },
        },
        "required": [],
    }

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> ConfidenceStrategy:
        """Raises UsageError where `low` lies above `high`."""
        low, high = float(options.get("low", LOW)), float(options.get("high", HIGH))
        if low > high:
            raise UsageError(f"strategy confidence: low ({low}) lies above high ({high})", mend="choose low <= high, e.g. 0.5 and 0.75")
        min_count = int(options.get("min_count", MIN_COUNT))
        bands = tuple(_bands(level, low, high, min_count) for level in levels)
        return ConfidenceStrategy(StepRule.of(options, len(levels)), bands)


def _bands(level: LevelCalibration, low: float, high: float, min_count: int) -> tuple[Band, ...]:
    """One band per class: its own means where they are known well enough, else the level's.

    A level that was never wrong on the tuning data gets the confidence of a blind guess as the mean of its mistakes. A level whose
    mistakes are as sure as its hits (or that has no hits) says nothing about itself by its confidence, and is left for a dearer one.
    """
    overall = _band(level.overall, low, high)
    if level.overall.wrong_mean is None and level.overall.correct_mean is not None:
        guess = 1 / len(level.classes)
        overall = _between(guess, level.overall.correct_mean, low, high)
    fallback = overall or DISTRUST
    known = [c if min(c.correct_count, c.wrong_count) >= min_count else None for c in level.classes]
    return tuple((_band(c, low, high) if c else None) or fallback for c in known)


def _band(means: ClassConfidence, low: float, high: float) -> Band | None:
    if means.wrong_mean is None or means.correct_mean is None:
        return None
    return _between(means.wrong_mean, means.correct_mean, low, high)


def _between(wrong: float, right: float, low: float, high: float) -> Band | None:
    """None where the band would be empty or upside down."""
    return Band(wrong + low * (right - wrong), wrong + high * (right - wrong)) if right > wrong else None
