"""Evolution on a made-up landscape whose measurements differ from what the profile says."""

from __future__ import annotations

import numpy as np
import pytest
from mobiprox_search_nsga2.plugin import Nsga2

from mobiprox_core.configuration import EXACT, Configuration, Setting
from mobiprox_core.interfaces import OperatorProfile, Profile, SettingProfile
from mobiprox_core.measurement import OperatingPoint, pareto_front
from mobiprox_core.testing import HeuristicContract


def profile(operators: int = 8, settings: int = 6, couplings: tuple[tuple[str, ...], ...] = ()) -> Profile:
    rng = np.random.default_rng(0)

    def row(number: int) -> SettingProfile:
        kl = float(0.02 * number**2 * rng.uniform(0.5, 1.5)) if number else 0.0
        return SettingProfile(Setting.of("toy", n=number) if number else EXACT, 1.0 - 0.12 * number, 0.01, kl)

    rows = tuple(OperatorProfile(f"op{i}", tuple(map(row, range(settings)))) for i in range(operators))
    return Profile(rows, float(operators), 32, couplings)


def measured(configuration: Configuration) -> OperatingPoint:
    """Neighbours that take the same setting spoil each other: no profile of single operators can know."""
    numbers = np.array([int(s.parts[0]["n"]) if (s := configuration[f"op{i}"]) else 0 for i in range(8)])
    clash = 1.5 * np.sum((numbers[1:] == numbers[:-1]) & (numbers[1:] > 0))
    return OperatingPoint(configuration, float(0.2 * (numbers**2).sum() + clash), 8 - 0.12 * float(numbers.sum()))


def area(points: list[OperatingPoint]) -> float:
    front = [p for p in pareto_front(points) if p.qos_loss <= 20]
    return sum((20 - p.qos_loss) * (before - p.latency_ms) for p, before in zip(front, [8.0, *(q.latency_ms for q in front)], strict=False))


@pytest.mark.parametrize("seeded", [True, False])
def test_generations_improve_the_measured_front(seeded: bool) -> None:
    heuristic, rng, options = Nsga2(), np.random.default_rng(4), {"generations": 6, "seeded": seeded}
    points = [measured(c.configuration) for c in heuristic.search(profile(), options, 20, rng)]
    before = area(points)
    for generation in range(7):
        children = heuristic.improve(profile(), points, options, generation, rng)
        assert len(children) == (16 if generation < 6 else 0)
        assert not {c.configuration for c in children} & {p.configuration for p in points}
        points += [measured(c.configuration) for c in children]
    assert area(points) > 1.01 * before


def test_the_seed_of_the_search_is_the_knapsacks_front() -> None:
    from mobiprox_search_knapsack.plugin import Knapsack

    rng = np.random.default_rng(0)
    assert Nsga2().search(profile(), {}, 30, rng) == Knapsack().search(profile(), {}, 30, rng)


def test_children_are_the_same_for_the_same_seed_and_keep_couplings() -> None:
    coupled = profile(couplings=(("op2", "op5"),))
    points = [measured(c.configuration) for c in Nsga2().search(coupled, {}, 20, np.random.default_rng(1))]
    first, second = (Nsga2().improve(coupled, points, {}, 0, np.random.default_rng(9)) for _ in range(2))
    assert first == second
    assert all(c.configuration["op2"] == c.configuration["op5"] for c in first)


def test_a_network_without_a_choice_has_no_children() -> None:
    alone = Profile((OperatorProfile("op0", (SettingProfile(EXACT, 1.0, 0.01, 0.0),)),), 1.0, 32)
    assert Nsga2().improve(alone, [OperatingPoint(Configuration({}), 0, 1)] * 2, {}, 0, np.random.default_rng(0)) == ()


class TestNsga2Contract(HeuristicContract):
    @pytest.fixture
    def heuristic(self) -> Nsga2:
        return Nsga2()


class TestUnseededContract(TestNsga2Contract):
    @pytest.fixture
    def options(self) -> dict[str, bool]:
        return {"seeded": False}
