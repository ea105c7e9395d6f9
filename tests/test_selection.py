"""What is measured and what is shipped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.interfaces import Candidate
from mobiprox_core.measure import _corrected
from mobiprox_core.measurement import Loss, OperatingPoint
from mobiprox_core.profile import hopeless
from mobiprox_core.selection import Demands, choose, contenders, evenly, halved, shortfalls, within_reach

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
    chosen = choose(candidates, EXACT, Demands(budget, levels))
    assert chosen[0] == EXACT
    assert len(chosen) <= levels
    assert all(p.qos_loss <= budget for p in chosen)
    for before, after in pairwise(chosen):
        assert before.latency_ms >= after.latency_ms * 1.01
    for before, after in pairwise(chosen[1:]):
        assert before.qos_loss < after.qos_loss


@given(candidates=measured, levels=st.integers(2, 8), budget=st.floats(0.5, 6))
def test_the_fastest_good_point_is_always_shipped(candidates: list[OperatingPoint], levels: int, budget: float) -> None:
    good = [p.latency_ms for p in candidates if p.qos_loss <= budget and p.latency_ms * 1.01 <= 100]
    assert latencies(choose(candidates, EXACT, Demands(budget, levels)))[-1] == min(good, default=100)


def test_levels_spread_over_the_speedups() -> None:
    crowd = points(*[(0.1 * i, 100 - 2.6 * i) for i in range(1, 15)], (2.0, 50), (3.0, 40), (4.0, 30))
    assert latencies(choose(crowd, EXACT, Demands(5, 5))) == [100, pytest.approx(63.6), 50, 40, 30]


def test_points_closer_than_a_step_that_is_worth_it_give_one_level() -> None:
    assert latencies(choose(points((0.5, 80), (0.6, 79.8), (0.7, 79.5)), EXACT, Demands(5, 10))) == [100, 79.5]


def test_points_whose_intervals_meet_give_one_level() -> None:
    noisy = [replace(p, latency_ci_ms=2.0) for p in points((0.5, 80), (0.6, 77), (0.7, 75), (0.8, 99))]
    assert latencies(choose(noisy, EXACT, Demands(5, 10))) == [100, 80, 75]


def test_choosing_again_changes_nothing() -> None:
    chosen = choose(points((0.5, 80), (1, 60), (2, 55), (7, 20)), EXACT, Demands(5, 10))
    assert choose(chosen, EXACT, Demands(5, 10)) == chosen


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
    assert contenders(losses, latencies_ms, max_loss=5) == [0, 1, 3, 5]


def test_points_that_were_not_timed_again_move_as_the_others_did() -> None:
    first = {p.configuration: p for p in points((0.5, 80), (1.0, 60), (2.0, 40))}
    a, b, c = first
    again = [EXACT, replace(first[a], latency_ms=88.0), replace(first[c], latency_ms=44.0)]
    moved = _corrected({EXACT_CONFIGURATION: EXACT, **first}, again)
    assert [moved[key].latency_ms for key in (EXACT_CONFIGURATION, a, b, c)] == [100, 88, pytest.approx(66), 44]
    assert moved[b].qos_loss == 1.0


def bounded(loss: float, upper: float, latency: float, number: int = 0, **more: object) -> OperatingPoint:
    return replace(OperatingPoint(configuration(number), loss, latency, qos_loss_upper=upper), **more)


def test_a_limit_on_the_loss_is_kept_by_the_upper_end_and_points_are_compared_by_what_was_measured() -> None:
    unsure = bounded(0.5, 6.0, 60, 1)
    sure = bounded(1.0, 2.0, 70, 2)
    beaten = bounded(1.5, 1.6, 80, 3)  # a narrower interval does not make it better than what loses less and is faster
    assert choose([unsure, sure, beaten], EXACT, Demands(5, 10)) == (EXACT, sure)


@given(candidates=measured, widths=st.lists(st.floats(0, 4), min_size=30, max_size=30), budget=st.floats(0.5, 6))
def test_no_level_is_beaten_by_a_point_that_could_ship(candidates: list[OperatingPoint], widths: list[float], budget: float) -> None:
    wide = [replace(p, qos_loss_upper=p.qos_loss + width) for p, width in zip(candidates, widths, strict=False)]
    could = [p for p in wide if p.upper <= budget]
    for level in choose(wide, EXACT, Demands(budget, 10))[1:]:
        assert level.upper <= budget
        assert not any(p.qos_loss <= level.qos_loss and p.latency_ms < level.latency_ms for p in could)


def test_a_refused_point_never_ships() -> None:
    assert choose([bounded(0, 1, 50, refused="class walk alone loses 30 pp")], EXACT, Demands(5, 10)) == (EXACT,)


def test_other_costs_are_saved_and_limited() -> None:
    exact = replace(EXACT, energy_mj=10.0, size_bytes=1000)
    lean = bounded(1, 1, 90, 1, energy_mj=3.0, size_bytes=900)
    fast = bounded(2, 2, 50, 2, energy_mj=8.0, size_bytes=400)
    assert choose([lean, fast], exact, Demands(5, 10, weights={"energy": 1.0})) == (exact, lean)
    assert choose([lean, fast], exact, Demands(5, 10, weights={"latency": 1.0, "energy": 1.0})) == (exact, lean)
    assert choose([lean, fast], exact, Demands(5, 10, weights={"size": 1.0})) == (exact, lean, fast)
    assert choose([lean, fast], exact, Demands(5, 10, max_size_bytes=500)) == (exact, fast)
    assert choose([lean, fast], exact, Demands(5, 10, max_latency_ms=40)) == (exact,)


def test_demands_that_cannot_be_met_say_which_limit_and_by_how_much() -> None:
    points_ = [EXACT, bounded(1, 1.5, 60, 1), bounded(4, 9, 30, 2)]
    assert shortfalls(points_, Demands(5, 10)) == ()
    both = shortfalls(points_, Demands(5, 10, max_latency_ms=40))
    assert {(m.limit, m.asked, m.best) for m in both} == {("max_loss", 5, 9), ("max_latency_ms", 40, 60)}
    assert str(both[0]) == "max_loss 5 pp: the best that keeps the other limits has 9 pp, 4 pp too much"
    sized = [replace(p, size_bytes=2_000_000) for p in points_]
    nearest = shortfalls(sized, Demands(5, 10, max_latency_ms=20, max_size_bytes=1e6))
    assert [m.limit for m in nearest] == ["max_latency_ms", "max_size_mb"]
    assert "max_size_mb 1 MB: what comes nearest to all limits has 2 MB, 1 MB too much" in map(str, nearest)


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 3), st.floats(10, 100)), min_size=1, max_size=40))
def test_halving_keeps_what_may_be_on_the_front(found: list[tuple[float, float, float]]) -> None:
    losses, costs = [(loss, error) for loss, error, _ in found], [cost for *_, cost in found]
    kept = halved(losses, costs, 5, least=4)
    assert len(kept) <= max(4, (len(found) + 1) // 2)
    hopeless = [i for i, (loss, error) in enumerate(losses) if loss - 2 * error > 5]
    assert not set(kept) & set(hopeless)
    alive = [i for i in range(len(found)) if i not in hopeless]
    if alive:
        assert min(alive, key=lambda i: (losses[i][0], costs[i])) in kept or len(kept) >= 4


SETTINGS = {number: Setting.of("toy", n=number) for number in range(4)}


def gaps(seed: int, *means: float) -> dict[Setting, np.ndarray]:
    """Divergences of 32 samples that the settings share, each with a mean of its own."""
    rng = np.random.default_rng(seed)
    samples = rng.gamma(1.0, 1.0, 32)
    return {SETTINGS[i]: mean * samples + rng.normal(0, 0.005, 32) for i, mean in enumerate(means)}


def bearable(*values: float) -> dict[Setting, Loss]:
    return {SETTINGS[i]: Loss(value, 4.0, value + 4.0) for i, value in enumerate(values)}


def test_settings_are_given_up_that_another_surely_beats_or_that_surely_lose_far_too_much() -> None:
    latency = dict(zip(SETTINGS.values(), (1.0, 1.0, 0.5, 0.4), strict=True))
    found = hopeless(latency, gaps(0, 0.1, 0.3, 0.2, 0.9), bearable(0, 1, 2, 60), 15, looks=3)
    assert found == {SETTINGS[1], SETTINGS[3]}


def test_what_differs_by_chance_alone_is_seldom_given_up() -> None:
    """Two settings that are equally good: over all looks one is given up at most as often as is said, in a hundred."""
    latency = {SETTINGS[0]: 1.0, SETTINGS[1]: 1.0}
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        samples = rng.gamma(1.0, 1.0, (96, 1)) + rng.normal(0, 0.2, (96, 2))
        looks = [{SETTINGS[i]: samples[:n, i] for i in range(2)} for n in (32, 64, 96)]
        wrong += any(hopeless(latency, own, bearable(0, 0), 15, looks=3) for own in looks)
    assert wrong <= 400 * 2 * 0.02
