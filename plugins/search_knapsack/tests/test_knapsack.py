"""The knapsack against brute force, and what every heuristic owes."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mobiprox_search_knapsack.plugin import Knapsack, mobiprox_heuristics

from mobiprox_core.configuration import EXACT, Setting
from mobiprox_core.interfaces import Candidate, OperatorProfile, Profile, SettingProfile

EVERYTHING = {"min_divergence": 1e-9, "max_divergence": 1e9}


def setting(number: int) -> Setting:
    return Setting.of("toy", n=number) if number else EXACT


def make_profile(rows: list[list[tuple[float, float]]], couplings: tuple[tuple[str, ...], ...] = ()) -> Profile:
    """rows: per operator (latency_ms, divergence) of every setting, exact first."""
    operators = [
        OperatorProfile(f"op{i}", tuple(SettingProfile(setting(n), ms, 0.01, kl) for n, (ms, kl) in enumerate(row)))
        for i, row in enumerate(rows)
    ]
    return Profile(tuple(operators), latency_ms=sum(row[0][0] for row in rows) + 1.0, samples=8, couplings=couplings)


def search(profile: Profile, options: dict[str, float] = EVERYTHING, count: int = 10_000, seed: int = 0) -> tuple[Candidate, ...]:
    return Knapsack().search(profile, options, count, np.random.default_rng(seed))


def brute_force(profile: Profile) -> list[tuple[float, float]]:
    """(latency, divergence) of all undominated sums, by rising divergence."""
    sums = []
    for choice in itertools.product(*(o.settings for o in profile.operators)):
        saved = sum(o.settings[0].latency_ms - s.latency_ms for o, s in zip(profile.operators, choice, strict=True))
        sums.append((sum(s.divergence for s in choice), profile.latency_ms - saved))
    front: list[tuple[float, float]] = []
    for divergence, latency in sorted(sums):
        if not front or latency < front[-1][0] - 1e-9:
            front.append((latency, divergence))
    return front


# whole numbers: sums are exact, so that brute force and knapsack agree to the last bit
rows_strategy = st.lists(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), min_size=0, max_size=4).map(lambda row: [(20, 0), *row]),
    min_size=1,
    max_size=5,
)


@given(rows=rows_strategy)
@settings(deadline=None, max_examples=200)
def test_small_instances_give_exactly_the_brute_force_front(rows: list[list[tuple[float, float]]]) -> None:
    profile = make_profile(rows)
    expected = [point for point in brute_force(profile) if point != (profile.latency_ms, 0.0)]
    assert [(c.latency_ms, c.divergence) for c in search(profile)] == expected


@given(rows=rows_strategy, count=st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_candidates_are_few_ordered_undominated_and_never_exact(rows: list[list[tuple[float, float]]], count: int) -> None:
    candidates = search(make_profile(rows), count=count)
    assert len(candidates) <= count
    assert all(c.configuration.settings for c in candidates)
    for before, after in itertools.pairwise(candidates):
        assert before.divergence < after.divergence
        assert before.latency_ms > after.latency_ms


@given(rows=rows_strategy)
@settings(deadline=None, max_examples=100)
def test_a_prediction_is_the_sum_over_the_chosen_settings(rows: list[list[tuple[float, float]]]) -> None:
    profile = make_profile(rows)
    for candidate in search(profile):
        latency, divergence = profile.latency_ms, 0.0
        for operator in profile.operators:
            chosen = next(s for s in operator.settings if s.setting == candidate.configuration[operator.name])
            latency += chosen.latency_ms - operator.settings[0].latency_ms
            divergence += chosen.divergence
        assert (candidate.latency_ms, candidate.divergence) == (latency, divergence)


def test_coupled_operators_take_one_setting_together() -> None:
    rows = [[(10, 0), (5, 1), (2, 3)], [(10, 0), (6, 2), (4, 9)], [(10, 0), (9, 0.5)]]
    profile = make_profile(rows, couplings=(("op0", "op1"),))
    candidates = search(profile)
    assert all(c.configuration["op0"] == c.configuration["op1"] for c in candidates)
    assert {(c.latency_ms, c.divergence) for c in candidates} >= {(22.0, 3.0), (17.0, 12.0)}


def test_a_coupled_operator_without_the_setting_keeps_the_others_exact() -> None:
    profile = make_profile([[(10, 0), (5, 1)], [(10, 0)], [(10, 0), (5, 2)]], couplings=(("op0", "op1"),))
    assert [dict(c.configuration.settings) for c in search(profile)] == [{"op2": setting(1)}]


def big_profile(operators: int = 100, choices: int = 60, seed: int = 1) -> Profile:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(operators):
        exact = rng.uniform(0.1, 2.0)
        speedup = rng.uniform(1.05, 6.0, choices)
        kl = np.exp(rng.normal(-7, 1.5, choices)) * speedup**2
        rows.append([(exact, 0.0), *((exact / s, float(k)) for s, k in zip(speedup, kl, strict=True))])
    return make_profile(rows)


def test_the_same_profile_gives_the_same_candidates_whatever_the_seed() -> None:
    profile = big_profile(20, 12)
    assert search(profile, {}, 25, seed=1) == search(profile, {}, 25, seed=2)


def test_a_hundred_operators_with_sixty_settings_take_a_moment_and_stay_near_the_optimum() -> None:
    profile = big_profile()
    start = time.process_time()
    candidates = search(profile, {}, 40)
    assert time.process_time() - start < 2.0  # 0.1-0.2 s alone on a core; the margin is for busy machines
    assert 30 <= len(candidates) <= 40
    finer = search(profile, {"cells": 16384}, 40)
    for candidate in candidates:
        better = [f.latency_ms for f in finer if f.divergence <= candidate.divergence * (1 + 1e-9)]
        assert not better or candidate.latency_ms <= min(better) * 1.01


def test_what_is_saved_is_what_integer_programming_finds_to_be_the_most() -> None:
    """Of 100 operators with 60 settings, for a small, a middling and a large budget."""
    optimize, sparse = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.sparse")
    profile = big_profile()
    candidates = search(profile, {}, 40)
    others = [
        (row, operator.settings[0].latency_ms - s.latency_ms, s.divergence)
        for row, operator in enumerate(profile.operators)
        for s in operator.settings[1:]
    ]
    rows, saving, divergence = map(np.array, zip(*others, strict=True))
    matrix = sparse.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(profile.operators), len(rows)))
    for candidate in candidates[5::14]:
        limits = [
            optimize.LinearConstraint(matrix, -np.inf, 1),
            optimize.LinearConstraint(divergence[None], -np.inf, candidate.divergence * (1 + 1e-9)),
        ]
        best = optimize.milp(-saving, constraints=limits, integrality=np.ones(len(rows)), bounds=optimize.Bounds(0, 1))
        assert profile.latency_ms - candidate.latency_ms >= 0.995 * -best.fun


def test_candidates_stay_within_the_divergence_limits_and_are_evenly_spread() -> None:
    candidates = search(big_profile(), {"min_divergence": 0.01, "max_divergence": 1.0}, 20)
    divergences = np.array([c.divergence for c in candidates])
    assert divergences[0] <= 0.01
    assert divergences[-1] <= 1.0
    assert np.diff(np.log(divergences[1:])).max() < 0.6  # ln(100) / 19 = 0.24 if perfectly even


@pytest.mark.parametrize("rows", [[], [[(10, 0)]], [[(10, 0), (10, 0)]], [[(10, 0), (12, 0.1)]], [[(10, 0), (5, float("nan"))]]])
def test_nothing_worth_choosing_gives_no_candidates(rows: list[list[tuple[float, float]]]) -> None:
    assert search(make_profile(rows)) == ()


def test_the_plugin_offers_it_under_its_name() -> None:
    assert [h.name for h in mobiprox_heuristics()] == ["knapsack"]
