"""One generation of NSGA-II (Deb et al., 2002, as pymoo has it) at a time, on points that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga2 import NSGA2  # type: ignore[import-untyped]
from pymoo.core.mutation import Mutation  # type: ignore[import-untyped]
from pymoo.core.population import Population  # type: ignore[import-untyped]
from pymoo.core.problem import Problem  # type: ignore[import-untyped]
from pymoo.core.sampling import Sampling  # type: ignore[import-untyped]
from pymoo.operators.crossover.ux import UniformCrossover  # type: ignore[import-untyped]

from mobiprox_core.interfaces import Candidate
from mobiprox_core.prediction import Table, random_codes

if TYPE_CHECKING:
    from mobiprox_core.configuration import Configuration
    from mobiprox_core.interfaces import Profile
    from mobiprox_core.measurement import OperatingPoint

Codes = npt.NDArray[np.integer[Any]]


class _Measured(Sampling):  # type: ignore[misc]
    """A first population that is there already."""

    def __init__(self, codes: Codes) -> None:
        super().__init__()
        self.codes = codes

    def _do(self, problem: Problem, n_samples: int, **_: Any) -> Codes:
        return self.codes[:n_samples]


class _OtherSetting(Mutation):  # type: ignore[misc]
    """Every operator takes another of its settings, any of them, with a chance of one in the number of operators; at least one does."""

    def __init__(self, offered: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
        super().__init__(prob=1.0)
        self.offered, self.rng = offered, rng

    def _do(self, problem: Problem, codes: Codes, **_: Any) -> Codes:
        free = np.flatnonzero(self.offered > 1)
        chosen = self.rng.random(codes.shape) < 1 / len(free)
        chosen[np.arange(len(codes)), self.rng.choice(free, len(codes))] = True
        drawn = (self.rng.random(codes.shape) * self.offered).astype(codes.dtype)
        return np.where(chosen, drawn, codes)


def offspring(profile: Profile, points: Sequence[OperatingPoint], count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
    """At most `count` configurations, children of the measured ones, that were not measured yet. Cheapest divergence first."""
    table = Table.of(profile)
    known = [point for point in points if table.knows(point.configuration)]
    offered = np.array([len(own) for own in table.settings])
    if len(known) < 2 or not (offered > 1).any():
        return ()
    codes = table.codes(point.configuration for point in known).astype(np.int64)
    problem = Problem(n_var=len(offered), n_obj=2, xl=0, xu=offered - 1, vtype=int)
    algorithm = NSGA2(
        pop_size=len(known),
        n_offsprings=2 * count,
        sampling=_Measured(codes),
        crossover=UniformCrossover(prob=0.9),
        mutation=_OtherSetting(offered, rng),
        eliminate_duplicates=False,
    )
    algorithm.setup(problem, termination=("n_gen", 3), seed=int(rng.integers(1 << 31)), verbose=False)
    first = algorithm.ask()
    measured = np.array([[point.qos_loss, point.latency_ms] for point in known])
    algorithm.tell(infills=Population.new(X=first.get("X"), F=measured))
    children = np.asarray(algorithm.ask().get("X"), dtype=np.int64)
    _couple(children, table, profile)
    return _candidates(children, table, profile, count, {point.configuration for point in points})


def scattered(profile: Profile, count: int, rng: np.random.Generator) -> tuple[Candidate, ...]:
    """Random configurations."""
    table = Table.of(profile)
    return _candidates(random_codes(table, count, rng, profile.couplings), table, profile, count, set())


def _couple(codes: Codes, table: Table, profile: Profile) -> None:
    """Coupled operators take the setting of the first of them, or stay exact where another does not have it; in place."""
    for group in profile.couplings:
        places = [table.operators.index(name) for name in group if name in table.operators]
        for row in codes:
            setting = table.settings[places[0]][row[places[0]]] if places else None
            shared = all(setting in table.settings[place] for place in places)
            for place in places:
                row[place] = table.settings[place].index(setting) if shared and setting is not None else 0


def _candidates(codes: Codes, table: Table, profile: Profile, count: int, known: set[Configuration]) -> tuple[Candidate, ...]:
    saving, divergence, changed = table.sums(codes)
    found: dict[Configuration, Candidate] = {}
    for row in range(len(codes)):
        configuration = table.configuration(codes[row])
        if changed[row] and configuration not in known and len(found) < count:
            found[configuration] = Candidate(configuration, profile.latency_ms - float(saving[row]), float(divergence[row]))
    return tuple(sorted(found.values(), key=lambda c: c.divergence))
