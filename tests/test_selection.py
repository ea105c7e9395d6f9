"""What is measured and what is shipped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.interfaces import Candidate
from mobiprox_core.measure import _corrected
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.selection import choose, contenders, evenly, within_reach

EXACT = OperatingPoint(EXACT_CONFIGURATION, 0.0, 100.0)


def configuration(number: int) -> Configuration:
    return Configuration({"conv": Setting.of("toy", n=number)})


def points(*pairs: tuple[float, float]) -> list[OperatingPoint]:
    """(loss, latency) of each."""
    return [OperatingPoint(configuration(i), loss, latency) for i, (loss, latency) in enumerate(pairs)]


def latencies(chosen: tuple[OperatingPoint, ...]) -> list[float]:
    return [p.latency_ms for p in chosen]


measured = st.lists(st.tuples(st.floats(-2, 10), st.floats(10, 120)), max_size=30).map(lambda pairs: points(*pairs))


@given(candidates=measured, levels=st.integers(1, 8), budget=st.floats(0.5, 6))
def test_levels_are_few_within_the_loss_undominated_and_strictly_faster(
    candidates: list[OperatingPoint], levels: int, budget: float
) -> None:
    chosen = choose(candidates, EXACT, budget, levels)
    assert chosen[0] == EXACT
    assert len(chosen) <= levels
    assert all(p.qos_loss_pp <= budget for p in chosen)
    for before, after in pairwise(chosen):
        assert before.latency_ms >= after.latency_ms * 1.01
    for before, after in pairwise(chosen[1:]):
        assert before.qos_loss_pp < after.qos_loss_pp


@given(candidates=measured, levels=st.integers(2, 8), budget=st.floats(0.5, 6))
def test_the_fastest_good_point_is_always_shipped(candidates: list[OperatingPoint], levels: int, budget: float) -> None:
    good = [p.latency_ms for p in candidates if p.qos_loss_pp <= budget and p.latency_ms * 1.01 <= 100]
    assert latencies(choose(candidates, EXACT, budget, levels))[-1] == min(good, default=100)


def test_levels_spread_over_the_speedups() -> None:
    crowd = points(*[(0.1 * i, 100 - 2.6 * i) for i in range(1, 15)], (2.0, 50), (3.0, 40), (4.0, 30))
    assert latencies(choose(crowd, EXACT, 5, 5)) == [100, pytest.approx(63.6), 50, 40, 30]


def test_points_closer_than_a_step_that_is_worth_it_give_one_level() -> None:
    assert latencies(choose(points((0.5, 80), (0.6, 79.8), (0.7, 79.5)), EXACT, 5, 10)) == [100, 79.5]


def test_points_whose_intervals_meet_give_one_level() -> None:
    noisy = [replace(p, latency_ci_ms=2.0) for p in points((0.5, 80), (0.6, 77), (0.7, 75), (0.8, 99))]
    assert latencies(choose(noisy, EXACT, 5, 10)) == [100, 80, 75]


def test_choosing_again_changes_nothing() -> None:
    chosen = choose(points((0.5, 80), (1, 60), (2, 55), (7, 20)), EXACT, 5, 10)
    assert choose(chosen, EXACT, 5, 10) == chosen


@pytest.mark.parametrize(("count", "expected"), [(0, ()), (1, (9,)), (2, (0, 9)), (4, (0, 3, 6, 9)), (20, tuple(range(10)))])
def test_evenly_keeps_the_ends(count: int, expected: tuple[int, ...]) -> None:
    assert evenly(range(10), count) == expected


def test_the_second_round_stays_where_losses_can_be_borne() -> None:
    candidates = [Candidate(configuration(i), 100 - i, divergence=0.1 * i) for i in range(10)]
    losses = {0: 0.2, 1: 0.0, 3: 6.0, 5: 4.0, 7: 8.0, 9: 30.0}  # 3 was bad luck
    known = {configuration(i): OperatingPoint(configuration(i), loss, 1.0) for i, loss in losses.items()}
    assert [c.configuration for c in within_reach(candidates, known, 5)] == [configuration(i) for i in (2, 4, 6)]
    assert [c.configuration for c in within_reach(candidates, known, 50)] == [configuration(i) for i in (2, 4, 6, 8)]


def test_only_what_may_be_on_the_front_goes_on() -> None:
    losses, latencies_ms = zip((0.1, 100), (0.0, 99), (1.0, 90), (0.5, 80), (6.0, 70), (4.0, 60), strict=True)
    assert contenders(losses, latencies_ms, max_loss_pp=5) == [0, 1, 3, 5]


def test_points_that_were_not_timed_again_move_as_the_others_did() -> None:
    first = {p.configuration: p for p in points((0.5, 80), (1.0, 60), (2.0, 40))}
    a, b, c = first
    again = [EXACT, replace(first[a], latency_ms=88.0), replace(first[c], latency_ms=44.0)]
    moved = _corrected({EXACT_CONFIGURATION: EXACT, **first}, again)
    assert [moved[key].latency_ms for key in (EXACT_CONFIGURATION, a, b, c)] == [100, 88, pytest.approx(66), 44]
    assert moved[b].qos_loss_pp == 1.0
