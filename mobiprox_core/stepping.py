"""How strategies move along the levels: one rule, for every strategy that asks for "more" or "less" approximation.

Two integers are all the memory it needs, the level and the step, and a strategy keeps them in its own state, which stays pure::

    rule = StepRule.of(options, len(levels))
    level, step = rule.more(level, step)      # cheaper
    level, step = rule.less(level)            # closer to exact

The step begins at 1. The paper makes going back always exponential; how fast to go forward is the user's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .errors import UsageError

INCREASE_OPTION: Mapping[str, Any] = MappingProxyType(
    {
        "type": "string",
        "enum": ["linear", "exponential"],
        "default": "linear",
        "description": "linear: one level more each time; exponential: 1, 2, 4, ... levels more until the next step back",
    }
)
"""JSON Schema of the option ``increase`` that `StepRule.of` reads; put it among the properties of a strategy's `options`."""

_FACTORS = {"linear": 1, "exponential": 2}


@dataclass(frozen=True, slots=True)
class StepRule:
    """Moves within ``0 .. levels - 1``. factor: what a step is multiplied by after each move to a cheaper level."""

    levels: int
    factor: int = 1

    def __post_init__(self) -> None:
        if self.levels < 1 or self.factor < 1:
            raise UsageError(f"a step rule needs at least one level and a factor of at least 1, not {self.levels} and {self.factor}")

    @classmethod
    def of(cls, options: Mapping[str, Any], levels: int) -> StepRule:
        """The rule that the option ``increase`` names."""
        return cls(levels, _FACTORS[options.get("increase", INCREASE_OPTION["default"])])

    def more(self, level: int, step: int) -> tuple[int, int]:
        """The level `step` further, and the next step. Both saturate: the level at the last, the step at the number of levels."""
        return min(level + step, self.levels - 1), min(step * self.factor, self.levels)

    def less(self, level: int) -> tuple[int, int]:
        """Half the level, and step 1 again."""
        return level // 2, 1
