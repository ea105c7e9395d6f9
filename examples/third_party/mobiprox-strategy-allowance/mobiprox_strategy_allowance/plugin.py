"""Spends a given share of the exact network's cost, and spends it where the network is least sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import LevelCalibration, Observation, Options

State = tuple[float, float]
"""What is left to spend, in exact inferences, and how sure the network has been lately."""

MEMORY = 0.1
MOST_SAVED = 20.0


@dataclass(frozen=True, slots=True)
class Spending:
    """share: of the exact cost, per inference; costs: of each level, exact first."""

    share: float
    costs: tuple[float, ...]

    def start(self) -> State:
        return (1.0, 1.0)

    def step(self, state: State, observation: Observation) -> tuple[State, int]:
        left, usual = state
        left = min(left + self.share - self.costs[observation.level], MOST_SAVED)
        usual += MEMORY * (observation.confidence - usual)
        may_spend = left + self.share if observation.confidence < usual else self.share
        affordable = [level for level, cost in enumerate(self.costs) if cost <= may_spend]
        return (left, usual), affordable[0] if affordable else len(self.costs) - 1


class Allowance:
    name = "allowance"
    summary = "a given share of the exact cost, spent where the network is least sure"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "share": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": 0.6,
                "description": "of the exact network's cost, on average",
            }
        },
    }

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> Spending:
        return Spending(options.get("share", 0.6), tuple(level.relative_cost for level in levels))


@hookimpl
def mobiprox_strategies() -> list[Allowance]:
    return [Allowance()]
