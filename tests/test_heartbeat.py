"""Measured against profiled latencies, on made-up beats; sessions on a real device are in test_session.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiprox_core.heartbeat import WINDOW, Drift, Heartbeat


def beaten(profiled: list[float], *runs: tuple[int, float]) -> Heartbeat:
    """A window of beats for each (level, milliseconds)."""
    heartbeat = Heartbeat(profiled)
    for level, ms in runs:
        for _ in range(WINDOW):
            heartbeat.beat(level, ms)
    return heartbeat


def test_what_is_as_profiled_is_left_alone() -> None:
    heartbeat = beaten([10, 5, 2], (0, 11), (1, 4.5), (2, 2.3))
    assert heartbeat.drifts == ()
    assert heartbeat.latencies_ms == (10, 5, 2)
    assert heartbeat.beats == 3 * WINDOW


def test_a_level_that_drifts_is_corrected_and_reported() -> None:
    heartbeat = beaten([10, 5, 2], (0, 10), (2, 4))
    assert heartbeat.drifts == (Drift(2 * WINDOW, 2, 2, 4),)
    assert (heartbeat.latencies_ms[0], heartbeat.latencies_ms[2]) == (10, 4)
    assert heartbeat.relative_costs[2] == 0.4
    assert str(heartbeat.drifts[0]) == "level 2 takes 4 ms, 2 times what was expected"


def test_levels_not_seen_follow_those_that_were() -> None:
    """All of a slower device is slower; relative costs stay."""
    heartbeat = beaten([10, 5, 2], (0, 30))
    assert heartbeat.pace == pytest.approx(3)
    assert heartbeat.latencies_ms == pytest.approx((30, 15, 6))
    assert heartbeat.relative_costs == pytest.approx((1, 0.5, 0.2))


def test_what_follows_is_not_reported_again_when_it_turns_out_so() -> None:
    assert len(beaten([10, 5, 2], (0, 30), (1, 15), (2, 6.5)).drifts) == 1


def test_what_drifts_back_is_reported_too() -> None:
    heartbeat = beaten([10, 5], (0, 30), (0, 10))
    assert [drift.measured_ms for drift in heartbeat.drifts] == [30, 10]
    assert heartbeat.latencies_ms == pytest.approx((10, 5))


def test_a_few_slow_beats_are_no_drift() -> None:
    heartbeat = Heartbeat([10.0])
    for number in range(10 * WINDOW):
        assert heartbeat.beat(0, 500.0 if number % 3 == 0 else 10.0) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.01, 100)), max_size=400))
def test_the_table_stays_positive_and_starts_at_1(beats: list[tuple[int, float]]) -> None:
    heartbeat = Heartbeat([10.0, 5.0, 2.0])
    for level, ms in beats:
        heartbeat.beat(level, ms)
    assert heartbeat.relative_costs[0] == 1
    assert all(ms > 0 for ms in heartbeat.latencies_ms)
