"""What every search owes: candidates that are among the settings, few enough, distinct, in order, and the same every time."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from mobiprox_core.configuration import EXACT, EXACT_CONFIGURATION, Setting
from mobiprox_core.interfaces import Candidate, Heuristic, OperatorProfile, Options, Profile, SettingProfile

from .contract import Contract, missing
from .offer import check_description, check_loads_lightly

COUNT = 30


class HeuristicContract(Contract):
    """Give the fixture `heuristic`, and `options` if it requires any."""

    kind = "heuristic"
    subject = "heuristic"

    @pytest.fixture
    def heuristic(self) -> Heuristic:
        missing("HeuristicContract", "heuristic", "your heuristic")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture(params=["one operator", "few operators", "many operators", "coupled operators"])
    def profile(self, request: pytest.FixtureRequest) -> Profile:
        return profiles()[request.param]

    @pytest.fixture
    def found(self, heuristic: Heuristic, options: Options, profile: Profile) -> tuple[Candidate, ...]:
        return tuple(heuristic.search(profile, options, COUNT, np.random.default_rng(0)))

    def test_it_describes_itself(self, heuristic: Heuristic, options: Options) -> None:
        check_description(heuristic, options)

    def test_it_loads_lightly(self, heuristic: Heuristic) -> None:
        check_loads_lightly(heuristic)

    def test_it_finds_something_where_something_pays(self, found: tuple[Candidate, ...]) -> None:
        assert found, "settings that are faster and hardly differ were on offer"

    def test_the_exact_configuration_is_no_candidate(self, found: tuple[Candidate, ...]) -> None:
        assert all(candidate.configuration != EXACT_CONFIGURATION for candidate in found)

    def test_candidates_are_distinct_and_not_more_than_asked_for(
        self, heuristic: Heuristic, options: Options, profile: Profile, found: tuple[Candidate, ...]
    ) -> None:
        for count in (1, 5, COUNT):
            some = heuristic.search(profile, options, count, np.random.default_rng(0))
            assert len(some) <= count, f"{len(some)} candidates, {count} were asked for"
            assert len({candidate.configuration for candidate in some}) == len(some), "the same configuration twice"

    def test_candidates_go_from_little_divergence_to_much(self, found: tuple[Candidate, ...]) -> None:
        divergences = [candidate.divergence for candidate in found]
        assert divergences == sorted(divergences), "cheapest divergence first"

    def test_candidates_are_made_of_the_settings_on_offer(self, profile: Profile, found: tuple[Candidate, ...]) -> None:
        offered = {operator.name: {setting.setting for setting in operator.settings} for operator in profile.operators}
        for candidate in found:
            for operator, setting in candidate.configuration.settings.items():
                assert operator in offered, f"no operator is called '{operator}'"
                assert setting in offered[operator], f"'{setting}' is not on offer for {operator}"

    def test_coupled_operators_change_together(self, profile: Profile, found: tuple[Candidate, ...]) -> None:
        for candidate in found:
            for coupled in profile.couplings:
                chosen = {candidate.configuration[operator] for operator in coupled}
                assert len(chosen) == 1, f"{', '.join(coupled)} must have one setting, not {', '.join(map(str, chosen))}"

    def test_predictions_are_in_milliseconds_and_nats(self, profile: Profile, found: tuple[Candidate, ...]) -> None:
        """Within what the profile makes possible: all of the fastest settings, and all of the worst; half and twice that are let pass."""
        saved = sum(max(o.settings[0].latency_ms - s.latency_ms for s in o.settings) for o in profile.operators)
        least, most = profile.latency_ms - saved, sum(max(s.divergence for s in o.settings) for o in profile.operators)
        for candidate in found:
            assert least / 2 <= candidate.latency_ms <= 2 * profile.latency_ms, f"{candidate.latency_ms} ms of {profile.latency_ms} ms"
            assert 0 <= candidate.divergence <= 2 * most, f"a divergence of {candidate.divergence} nats, the worst is {most}"

    def test_it_finds_the_same_every_time(
        self, heuristic: Heuristic, options: Options, profile: Profile, found: tuple[Candidate, ...]
    ) -> None:
        np.random.seed()  # noqa: NPY002  # what a careless plugin draws from
        again = tuple(heuristic.search(profile, options, COUNT, np.random.default_rng(0)))
        assert again == found, "other candidates with the same profile and seed"

    def test_it_leaves_the_profile_alone(self, heuristic: Heuristic, options: Options, profile: Profile) -> None:
        before = copy.deepcopy(profile)
        heuristic.search(profile, options, COUNT, np.random.default_rng(0))
        assert profile == before

    def test_it_stands_that_there_is_nothing_to_choose(self, heuristic: Heuristic, options: Options) -> None:
        for operators in ((), (OperatorProfile("op", (SettingProfile(EXACT, 1.0, 0.01, 0.0),)),)):
            assert tuple(heuristic.search(Profile(operators, 1.0, 8), options, COUNT, np.random.default_rng(0))) == ()


def profiles() -> dict[str, Profile]:
    """Random profiles in which every setting pays, some hardly differ, and one is worse in both ways than another."""
    made = {name: _profile(operators, seed) for seed, (name, operators) in enumerate((("one", 1), ("few", 4), ("many", 20)))}
    coupled = _profile(6, 3)
    alike = tuple(
        OperatorProfile(
            o.name, tuple(SettingProfile(s.setting, *_own(t)) for s, t in zip(coupled.operators[1].settings, o.settings, strict=True))
        )
        if o.name == "op2"
        else o
        for o in coupled.operators
    )
    together = Profile(alike, coupled.latency_ms, coupled.samples, couplings=(("op1", "op2"),))
    return {"one operator": made["one"], "few operators": made["few"], "many operators": made["many"], "coupled operators": together}


def _own(setting: SettingProfile) -> tuple[float, float, float]:
    return setting.latency_ms, setting.latency_ci_ms, setting.divergence


def _profile(operators: int, seed: int) -> Profile:
    rng = np.random.default_rng(seed)
    made = []
    for index in range(operators):
        exact_ms = float(rng.uniform(0.2, 3))
        settings = [SettingProfile(EXACT, exact_ms, 0.01, 0.0)]
        for number in range(1, 5):
            saved = float(rng.uniform(0.1, 0.7))
            settings.append(
                SettingProfile(Setting.of("toy", n=number), exact_ms * (1 - saved), 0.01, float(rng.uniform(0.001, 0.2)) * saved)
            )
        best = settings[1]
        settings.append(SettingProfile(Setting.of("toy", n=9), best.latency_ms * 1.01, 0.01, best.divergence * 2))
        made.append(OperatorProfile(f"op{index}", tuple(settings)))
    return Profile(tuple(made), sum(o.settings[0].latency_ms for o in made) + 0.5, samples=64)
