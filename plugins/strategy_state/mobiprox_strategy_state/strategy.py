"""The last predictions vote: all equal is a vote for cheaper, otherwise one for dearer; enough votes in a row move the level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mobiprox_core.interfaces import LevelCalibration, Observation, Options
from mobiprox_core.stepping import INCREASE_OPTION, StepRule

NOTHING_YET = -1
MEMORY = 3
VOTES = 2


class StateDrivenState(NamedTuple):
    """votes: positive for cheaper, negative for dearer. seen: predictions so far, counted up to the memory.

    run: how many of the latest predictions equal `last`, counted up to the memory. Whether the whole memory is one class is all
    that is ever asked of it, so a run length stands for the queue of predictions, and the state keeps one size.
    """

    level: int = 0
    step: int = 1
    votes: int = 0
    seen: int = 0
    run: int = 0
    last: int = NOTHING_YET


@dataclass(frozen=True, slots=True)
class StateDrivenStrategy:
    """memory: how many latest predictions are looked at; votes: how many equal votes in a row decide.

    The memory outlives a decision, the votes do not: with 3 and 2, the first move needs 4 equal predictions, later ones 2 more each.
    """

    rule: StepRule
    memory: int = MEMORY
    votes: int = VOTES

    def start(self) -> StateDrivenState:
        return StateDrivenState()

    def step(self, state: StateDrivenState, observation: Observation) -> tuple[StateDrivenState, int]:
        level, step, votes, seen, run, last = state
        seen = min(seen + 1, self.memory)
        run = min(run + 1, self.memory) if observation.label == last else 1
        if seen == self.memory:
            votes = max(votes, 0) + 1 if run == self.memory else min(votes, 0) - 1
        if votes >= self.votes:
            (level, step), votes = self.rule.more(level, step), 0
        elif votes <= -self.votes:
            (level, step), votes = self.rule.less(level), 0
        return StateDrivenState(level, step, votes, seen, run, observation.label), level


class StateDriven:
    """Offers the strategy ``state``."""

    name = "state"
    summary = "more approximation while the last predictions agree, half the level while they do not"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "increase": dict(INCREASE_OPTION),
            "memory": {"type": "integer", "minimum": 1, "default": MEMORY, "description": "how many latest predictions must agree"},
            "votes": {"type": "integer", "minimum": 1, "default": VOTES, "description": "how many equal votes in a row move the level"},
        },
        "required": [],
    }

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> StateDrivenStrategy:
        return StateDrivenStrategy(StepRule.of(options, len(levels)), options.get("memory", MEMORY), options.get("votes", VOTES))
