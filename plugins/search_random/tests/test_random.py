"""What random search owes: variety, legality, the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from mobiprox_search_random.plugin import Random

from mobiprox_core.configuration import EXACT, Setting
from mobiprox_core.interfaces import OperatorProfile, Profile, SettingProfile
from mobiprox_core.testing import HeuristicContract


def profile(operators: int = 6, settings: int = 5, couplings: tuple[tuple[str, ...], ...] = ()) -> Profile:
    def row(number: int) -> SettingProfile:
        return SettingProfile(Setting.of("toy", n=number) if number else EXACT, 1.0 - 0.1 * number, 0.01, 0.02 * number)

    rows = tuple(OperatorProfile(f"op{i}", tuple(map(row, range(settings)))) for i in range(operators))
    return Profile(rows, float(operators), 32, couplings)


def test_it_draws_mild_and_bold_configurations_none_twice_and_never_the_exact_one() -> None:
    found = Random().search(profile(), {}, 200, np.random.default_rng(1))
    changed = [len(c.configuration.settings) for c in found]
    assert {1, 6} <= set(changed)
    assert 0 not in changed
    assert len({c.configuration for c in found}) == len(found) > 150
    assert [c.divergence for c in found] == sorted(c.divergence for c in found)


def test_predictions_are_those_of_the_profile() -> None:
    for candidate in Random().search(profile(), {}, 20, np.random.default_rng(2)):
        numbers = [int(s.parts[0]["n"]) for s in candidate.configuration.settings.values()]
        np.testing.assert_allclose(candidate.divergence, 0.02 * sum(numbers), rtol=1e-5)
        np.testing.assert_allclose(candidate.latency_ms, 6 - 0.1 * sum(numbers), rtol=1e-5)


def test_coupled_operators_take_one_setting_and_a_seed_gives_the_same_again() -> None:
    coupled = profile(couplings=(("op1", "op3"),))
    first, second = (Random().search(coupled, {}, 50, np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert all(c.configuration["op1"] == c.configuration["op3"] for c in first)


class TestRandomContract(HeuristicContract):
    @pytest.fixture
    def heuristic(self) -> Random:
        return Random()
