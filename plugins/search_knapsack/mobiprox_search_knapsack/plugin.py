"""Offers the heuristic `knapsack`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobiprox_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy as np

    from mobiprox_core.interfaces import Candidate, Options, Profile

_OPTIONS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "min_divergence": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "nats; closer to exact than this counts as equally good",
        },
        "max_divergence": {"type": "number", "exclusiveMinimum": 0, "description": "nats; nothing further from exact is proposed"},
        "cells": {"type": "integer", "minimum": 16, "description": "partial choices kept while merging"},
    },
    "required": [],
}


@dataclass(frozen=True, slots=True)
class Knapsack:
    """Least summed divergence for every summed latency, one setting per operator."""

    name: str = "knapsack"
    summary: str = "multiple-choice knapsack over the profile, all latency budgets at once"
    options: Mapping[str, Any] = field(default_factory=lambda: _OPTIONS)
    preferred: bool = True

    def search(self, profile: Profile, options: Options, count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """The fastest configuration within each of many divergence budgets, evenly spaced in log divergence.

        At most `count`, cheapest divergence first, none dominated, none exact. Nothing here is random: `rng` is not drawn from.
        """
        from .knapsack import search

        return search(
            profile,
            count,
            low=options.get("min_divergence", 1e-4),
            high=options.get("max_divergence", 2.0),
            cells=options.get("cells", 2048),
        )


@hookimpl
def mobiprox_heuristics() -> list[Knapsack]:
    return [Knapsack()]
