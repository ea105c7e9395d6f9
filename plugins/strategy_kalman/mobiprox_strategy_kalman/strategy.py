"""A scalar Kalman filter of "same class as before" decides whether predictions are steady enough for a cheaper level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import LevelCalibration, Observation, Options
from mobiprox_core.stepping import INCREASE_OPTION, StepRule

NOTHING_YET = -1
PROCESS_NOISE = 0.1
MEASUREMENT_NOISE = 1.0
LESS = 0.5
MORE = 0.95
INCREASE = "exponential"


class KalmanState(NamedTuple):
    """steadiness: the estimate; variance: how little is known of it (100: nothing). last: the previous prediction, or NOTHING_YET."""

    level: int = 0
    step: int = 1
    steadiness: float = 1.0
    variance: float = 100.0
    last: int = NOTHING_YET


@dataclass(frozen=True, slots=True)
class KalmanStrategy:
    rule: StepRule
    process_noise: float = PROCESS_NOISE
    measurement_noise: float = MEASUREMENT_NOISE
    less: float = LESS
    more: float = MORE

    def start(self) -> KalmanState:
        return KalmanState()

    def step(self, state: KalmanState, observation: Observation) -> tuple[KalmanState, int]:
        """The first prediction counts as a repeated one."""
        level, step, steadiness, variance, last = state
        same = 1.0 if last in (NOTHING_YET, observation.label) else 0.0
        gain = variance / (variance + self.measurement_noise)
        steadiness += gain * (same - steadiness)
        variance = (1 - gain) * variance + self.process_noise
        if steadiness < self.less:
            level, step = self.rule.less(level)
        elif steadiness > self.more:
            level, step = self.rule.more(level, step)
        return KalmanState(level, step, steadiness, variance, observation.label), level


class KalmanFiltered:
    """Offers the strategy ``kalman``."""

    name = "kalman"
    summary = "more approximation while a Kalman filter finds predictions steady, half the level while it does not"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "increase": {**INCREASE_OPTION, "default": INCREASE},
            "process_noise": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": PROCESS_NOISE,
                "description": "how fast steadiness may change; larger forgets sooner",
            },
            "measurement_noise": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": MEASUREMENT_NOISE,
                "description": "how little one prediction says; larger smooths more",
            },
            "less": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": LESS,
                "description": "estimate below which to step back",
            },
            "more": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": MORE,
                "description": "estimate above which to approximate more",
            },
        },
        "required": [],
    }

    def check(self, options: Options) -> None:
        """Raises UsageError where `less` lies above `more`."""
        less, more = options.get("less", LESS), options.get("more", MORE)
        if less > more:
            raise UsageError(f"strategy kalman: less ({less}) lies above more ({more})", mend="choose less <= more, e.g. 0.5 and 0.95")

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> KalmanStrategy:
        self.check(options)
        given = {key: float(options[key]) for key in ("process_noise", "measurement_noise", "less", "more") if key in options}
        return KalmanStrategy(StepRule.of({"increase": INCREASE, **options}, len(levels)), **given)
