from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_strategy_naive.strategy import Naive

from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation

NOTHING = ClassConfidence(0, 0, None, None)


def walk(labels: str, count: int, **options: str) -> list[int]:
    """The level after each prediction, one letter a class."""
    strategy = Naive().create(options, [LevelCalibration(1.0, None, 1.0, NOTHING, ())] * count)
    state, level, walked = strategy.start(), 0, []
    for label in labels:
        state, level = strategy.step(state, Observation(ord(label), 0.5, level))
        walked.append(level)
    return walked


@pytest.mark.parametrize(
    ("labels", "increase", "levels"),
    [
        ("AAAA", "linear", [0, 1, 2, 3]),
        ("AAAAAA", "exponential", [0, 1, 3, 7, 15, 19]),
        ("AAAAAABBB", "exponential", [0, 1, 3, 7, 15, 19, 9, 10, 12]),
        ("ABABAB", "exponential", [0, 0, 0, 0, 0, 0]),
    ],
)
def test_it_walks_as_by_hand(labels: str, increase: str, levels: list[int]) -> None:
    assert walk(labels, 20, increase=increase) == levels


def test_it_compares_with_the_previous_prediction_and_not_the_first() -> None:
    assert walk("AAAABBB", 6) == [0, 1, 2, 3, 1, 2, 3]


def test_the_increase_is_linear_unless_said_otherwise() -> None:
    assert walk("AAAA", 20) == walk("AAAA", 20, increase="linear")


def test_after_a_long_run_a_change_still_halves_and_steps_begin_at_one_again() -> None:
    assert walk("A" * 500 + "BBB", 5, increase="exponential")[-4:] == [4, 2, 3, 4]


@given(st.text("ABC", max_size=60), st.sampled_from(["linear", "exponential"]))
def test_one_level_leaves_nothing_to_choose(labels: str, increase: str) -> None:
    assert set(walk(labels, 1, increase=increase)) <= {0}


def test_its_state_is_written_as_json_and_read_back() -> None:
    strategy = Naive().create({}, [LevelCalibration(1.0, None, 1.0, NOTHING, ())] * 4)
    state, _ = strategy.step(strategy.start(), Observation(2, 0.5, 0))
    assert strategy.step(tuple(json.loads(json.dumps(state))), Observation(2, 0.5, 0)) == strategy.step(state, Observation(2, 0.5, 0))
