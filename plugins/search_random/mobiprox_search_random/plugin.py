"""Offers the heuristic `random`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobiprox_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import numpy as np

    from mobiprox_core.interfaces import Candidate, Options, Profile


@dataclass(frozen=True, slots=True)
class Random:
    """Settings drawn evenly for every operator; how many operators are left exact is drawn for each configuration anew."""

    name: str = "random"
    summary: str = "configurations drawn at random: the baseline"
    options: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def search(self, profile: Profile, options: Options, count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
        """At most `count`, none twice, cheapest divergence first."""
        from mobiprox_core.interfaces import Candidate
        from mobiprox_core.prediction import Table, random_codes

        table = Table.of(profile)
        codes = random_codes(table, count, rng, profile.couplings)
        saving, divergence, changed = table.sums(codes)
        found = {}
        for row in divergence.argsort(kind="stable"):
            if changed[row]:
                configuration = table.configuration(codes[row])
                found[configuration] = Candidate(configuration, profile.latency_ms - float(saving[row]), float(divergence[row]))
        return tuple(found.values())


@hookimpl
def mobiprox_heuristics() -> list[Random]:
    return [Random()]
