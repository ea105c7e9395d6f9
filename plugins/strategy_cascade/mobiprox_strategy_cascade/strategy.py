"""A cheap level first; where it is unsure, the same input again at a dearer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobiprox_core.errors import UsageError
from mobiprox_core.gating import CLOSED, cheapest, checked, gates, known_agreement
from mobiprox_core.interfaces import LevelCalibration, Observation, Options, Rerun

MAX_DISAGREEMENT_PP = 1.0

CHANGE = 0.0

State = int | None
"""The label that stood for the input before."""


@dataclass(frozen=True, slots=True)
class CascadeStrategy:
    """first: where every input begins; again: where the unsure ones run again. thresholds: confidence per level with which it is sure.
    change: how much of what is missing to 1 is added to the threshold of a label that differs from the one before.

    It has a threshold for every level because others (a rule, a hand) may let another one run.
    """

    first: int
    again: int
    thresholds: tuple[float, ...]
    change: float = CHANGE

    def start(self) -> State:
        return None

    def step(self, state: State, observation: Observation) -> tuple[State, int]:
        label, threshold = observation.label, self.thresholds[observation.level]
        if threshold < CLOSED and state not in (None, label):
            threshold += self.change * (1 - threshold)
        if observation.level > self.again and observation.confidence < threshold:
            return label, Rerun(self.again)
        return label, self.first


class Cascading:
    """Offers the strategy ``cascade``."""

    name = "cascade"
    summary = "a cheap level first, and the exact network again on the same input when it is unsure"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "max_disagreement_pp": {
                "type": "number",
                "minimum": 0,
                "maximum": 100,
                "default": MAX_DISAGREEMENT_PP,
                "description": "percentage points of all answers that may differ from the exact network's, on the calibration data",
            },
            "threshold": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": 1,
                "default": None,
                "description": "the confidence below which to run again, instead of fitted ones",
            },
            "level": {
                "type": ["integer", "null"],
                "minimum": 1,
                "default": None,
                "description": "the level to begin with, instead of the cheapest to expect",
            },
            "again": {"type": "integer", "minimum": 0, "default": 0, "description": "the level at which inputs run again"},
            "change": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": CHANGE,
                "description": "how much surer a label must be that differs from the one before: 0: as sure as others, 1: never sure enough",
            },
        },
        "required": [],
    }

    def check(self, options: Options) -> None:
        """Raises UsageError where the first level is no cheaper than the one to run again, or a threshold is both given and fitted."""
        level, again = options.get("level"), options.get("again", 0)
        if level is not None and level <= again:
            raise UsageError(f"strategy cascade: level {level} is no cheaper than level {again}", mend="choose level above again")
        if options.get("threshold") is not None and "max_disagreement_pp" in options:
            raise UsageError("strategy cascade: the threshold is given and to be fitted", mend="leave out threshold or max_disagreement_pp")

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> CascadeStrategy:
        """Raises UsageError for a level that does not exist, or levels that were calibrated without agreement."""
        self.check(options)
        again, change = checked(self.name, options.get("again", 0), levels), float(options.get("change", CHANGE))
        if (threshold := options.get("threshold")) is not None:
            thresholds = tuple(0.0 if number <= again else float(threshold) for number in range(len(levels)))
        else:
            allowed = options.get("max_disagreement_pp", MAX_DISAGREEMENT_PP) / 100
            if again:  # whatever runs again may differ there too; what the first level keeps comes on top
                allowed -= known_agreement(again, levels[again]).differing[0]
            thresholds = gates(levels, lambda agreement, k: agreement.differing[k] <= allowed, again)
        if (level := options.get("level")) is None:
            return CascadeStrategy(cheapest(levels, thresholds, again)[0], again, thresholds, change)
        first = again if thresholds[checked(self.name, level, levels)] == CLOSED else level
        return CascadeStrategy(first, again, thresholds, change)
