from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_strategy_state.strategy import StateDriven

from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation

NOTHING = ClassConfidence(0, 0, None, None)


def walk(labels: str, count: int = 20, **options: str | int) -> list[int]:
    """The level after each prediction, one letter a class."""
    strategy = StateDriven().create(options, [LevelCalibration(1.0, None, 1.0, NOTHING, ())] * count)
    state, level, walked = strategy.start(), 0, []
    for label in labels:
        state, level = strategy.step(state, Observation(ord(label), 0.5, level))
        walked.append(level)
    return walked


@pytest.mark.parametrize(
    ("labels", "levels"),
    [
        ("AAA", [0, 0, 0]),
        ("AAAA", [0, 0, 0, 1]),
        ("AAAAAAAA", [0, 0, 0, 1, 1, 2, 2, 3]),
        # A A B and A B B vote for dearer, and 3 becomes 1; then B B B twice for cheaper.
        ("AAAAAAAABBBB", [0, 0, 0, 1, 1, 2, 2, 3, 3, 1, 1, 2]),
        # One vote for cheaper, then one for dearer: the count starts anew, so nothing moves.
        ("AAABBB", [0, 0, 0, 0, 0, 0]),
        ("ABABABAB", [0] * 8),
    ],
)
def test_it_walks_as_by_hand(labels: str, levels: list[int]) -> None:
    assert walk(labels) == levels


def test_steps_double_on_demand() -> None:
    assert walk("A" * 10, increase="exponential") == [0, 0, 0, 1, 1, 3, 3, 7, 7, 15]


def test_memory_and_votes_are_the_users() -> None:
    assert walk("AAAAA", memory=1, votes=1) == [1, 2, 3, 4, 5]
    assert walk("AAAAAAAA", memory=4, votes=3) == [0, 0, 0, 0, 0, 1, 1, 1]


def by_a_queue_of_predictions(labels: str, count: int, memory: int, needed: int) -> list[int]:
    """The paper's description, word by word, linear increase."""
    queue: deque[str] = deque(maxlen=memory)
    level = votes = 0
    walked = []
    for label in labels:
        queue.append(label)
        if len(queue) == memory:
            reliable = len(set(queue)) == 1
            votes = max(0, votes) + 1 if reliable else min(0, votes) - 1
            votes = max(-needed, min(needed, votes))
            if votes >= needed:
                level, votes = min(level + 1, count - 1), 0
            elif votes <= -needed:
                level, votes = level // 2, 0
        walked.append(level)
    return walked


@given(st.text("AB", max_size=80), st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_it_walks_like_a_queue_of_predictions(labels: str, count: int, memory: int, votes: int) -> None:
    assert walk(labels, count, memory=memory, votes=votes) == by_a_queue_of_predictions(labels, count, memory, votes)


@given(st.text("AB", max_size=60))
def test_its_state_keeps_one_size(labels: str) -> None:
    strategy = StateDriven().create({}, [LevelCalibration(1.0, None, 1.0, NOTHING, ())] * 4)
    state = strategy.start()
    for label in labels:
        state, _ = strategy.step(state, Observation(ord(label), 0.5, 0))
        assert len(state) == len(strategy.start())
        assert all(isinstance(number, int) for number in state)
