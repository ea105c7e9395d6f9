"""Offers the heuristic `nsga2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobiprox_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy as np

    from mobiprox_core.interfaces import Candidate, Options, Profile
    from mobiprox_core.measurement import OperatingPoint

_OPTIONS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "generations": {"type": "integer", "minimum": 0, "default": 3, "description": "how often measured points have offspring"},
        "offspring": {"type": "integer", "minimum": 2, "default": 16, "description": "configurations to measure in each generation"},
        "seeded": {
            "type": "boolean",
            "default": True,
            "description": "start from the knapsack's front; if not, from random configurations",
        },
    },
}


@dataclass(frozen=True, slots=True)
class Nsga2:
    """An evolutionary polish of what the knapsack proposes, on real measurements."""

    name: str = "nsga2"
    summary: str = "NSGA-II on measured points, started from the knapsack's front"
    options: Mapping[str, Any] = field(default_factory=lambda: _OPTIONS)

    def search(self, profile: Profile, options: Options, count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """The first generation: the knapsack's front, which is exact for what a profile can predict; or random configurations."""
        if options.get("seeded", True):
            from mobiprox_search_knapsack.plugin import Knapsack

            return Knapsack().search(profile, {}, count, rng)
        from .evolution import scattered

        return scattered(profile, count, rng)

    def improve(
        self, profile: Profile, points: Sequence[OperatingPoint], options: Options, generation: int, rng: np.random.Generator
    ) -> tuple[Candidate, ...]:
        """Offspring of the measured points; none after the last generation."""
        if generation >= options.get("generations", 3):
            return ()
        from .evolution import offspring

        return offspring(profile, points, options.get("offspring", 16), rng)


@hookimpl
def mobiprox_heuristics() -> list[Nsga2]:
    return [Nsga2()]
