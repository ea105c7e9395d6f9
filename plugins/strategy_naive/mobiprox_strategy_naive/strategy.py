"""A prediction like the previous one asks for a cheaper level, any other one for a dearer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mobiprox_core.interfaces import LevelCalibration, Observation, Options
from mobiprox_core.stepping import INCREASE_OPTION, StepRule

NOTHING_YET = -1


class NaiveState(NamedTuple):
    """last: the previous prediction, NOTHING_YET before the first."""

    level: int = 0
    step: int = 1
    last: int = NOTHING_YET


@dataclass(frozen=True, slots=True)
class NaiveStrategy:
    """Compares with the *previous* prediction, as the paper says (the published app compares with the very first, for ever)."""

    rule: StepRule

    def start(self) -> NaiveState:
        return NaiveState()

    def step(self, state: NaiveState, observation: Observation) -> tuple[NaiveState, int]:
        level, step, last = state
        if last == observation.label:
            level, step = self.rule.more(level, step)
        elif last != NOTHING_YET:
            level, step = self.rule.less(level)
        return NaiveState(level, step, observation.label), level


class Naive:
    """Offers the strategy ``naive``."""

    name = "naive"
    summary = "more approximation while predictions repeat, half the level when one differs"
    options: Mapping[str, Any] = {"type": "object", "properties": {"increase": dict(INCREASE_OPTION)}, "required": []}

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> NaiveStrategy:
        return NaiveStrategy(StepRule.of(options, len(levels)))
