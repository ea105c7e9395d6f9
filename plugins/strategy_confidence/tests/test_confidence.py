from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_strategy_confidence.strategy import ConfidenceDriven

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation

KNOWN = ClassConfidence(correct_count=40_000, wrong_count=10_000, correct_mean=0.8, wrong_mean=0.4)  # band 0.6 to 0.7
OVERALL = ClassConfidence(correct_count=400, wrong_count=100, correct_mean=0.9, wrong_mean=0.1)  # band 0.5 to 0.7


def level(*classes: ClassConfidence, overall: ClassConfidence = OVERALL) -> LevelCalibration:
    return LevelCalibration(1.0, 0.9, 1.0, overall, classes)


def walk(confidences: list[float], levels: list[LevelCalibration], label: int = 0, **options: float | str) -> list[int]:
    strategy = ConfidenceDriven().create(options, levels)
    state, now, walked = strategy.start(), 0, []
    for confidence in confidences:
        state, now = strategy.step(state, Observation(label, confidence, now))
        walked.append(now)
    return walked


def reaction(confidence: float, *classes: ClassConfidence, overall: ClassConfidence = OVERALL, **options: float) -> str:
    """What one prediction of class 0 does at level 4 of 9."""
    strategy = ConfidenceDriven().create(options, [level(*classes, overall=overall)] * 9)
    _, now = strategy.step((4, 1), Observation(0, confidence, 4))
    return {2: "less", 4: "hold", 5: "more"}[now]


def test_it_walks_as_by_hand() -> None:
    sure, unsure, between = 0.75, 0.55, 0.65
    assert walk([sure, sure, between, sure, unsure, unsure], [level(KNOWN)] * 9) == [1, 2, 2, 3, 1, 0]
    assert walk([sure, sure, between, sure, sure], [level(KNOWN)] * 9, increase="exponential") == [1, 3, 3, 7, 8]


@pytest.mark.parametrize(
    ("confidence", "expected"), [(0.59, "less"), (0.61, "hold"), (0.69, "hold"), (0.71, "more"), (0.0, "less"), (1.0, "more")]
)
def test_the_band_lies_half_and_three_quarters_of_the_way_from_wrong_to_right(confidence: float, expected: str) -> None:
    assert reaction(confidence, KNOWN) == expected


def test_the_band_is_the_users() -> None:
    assert reaction(0.45, KNOWN, low=0.0, high=1.0) == "hold"
    assert reaction(0.45, KNOWN, low=0.0, high=0.1) == "more"


def test_it_judges_by_the_statistics_of_the_level_that_ran() -> None:
    easy, hard = level(ClassConfidence(4000, 1000, 0.2, 0.0)), level(ClassConfidence(4000, 1000, 1.0, 0.8))
    assert walk([0.5, 0.5], [easy, hard, easy]) == [1, 0]


def test_it_judges_by_the_predicted_class() -> None:
    sure, unsure = ClassConfidence(4000, 1000, 1.0, 0.8), ClassConfidence(4000, 1000, 0.4, 0.2)
    assert walk([0.5], [level(sure, unsure)] * 3, label=0) == [0]
    assert walk([0.5], [level(sure, unsure)] * 3, label=1) == [1]


@pytest.mark.parametrize("unknown", [ClassConfidence(0, 0, None, None), ClassConfidence(40, 40, 0.2, 0.9)])
def test_classes_that_were_never_seen_or_are_upside_down_are_judged_by_the_whole_level(unknown: ClassConfidence) -> None:
    assert [reaction(c, unknown) for c in (0.45, 0.6, 0.75)] == ["less", "hold", "more"]


def test_means_of_few_samples_are_drawn_to_those_of_the_level() -> None:
    """5 mistakes at 0.5 and 5 of the level at 0.1 make 0.3; 20 hits at 0.8 and 5 of the level at 0.9 make 0.82: band 0.56 to 0.69."""
    few = ClassConfidence(20, 5, 0.8, 0.5)
    assert [reaction(c, few) for c in (0.555, 0.565, 0.685, 0.695)] == ["less", "hold", "hold", "more"]


def test_how_far_they_are_drawn_is_the_users() -> None:
    rare = ClassConfidence(2, 2, 0.8, 0.4)
    assert reaction(0.55, rare) == "hold"
    assert reaction(0.55, rare, shrinkage=0) == "less"
    assert reaction(0.55, rare, shrinkage=1000) == "hold"


def test_mistakes_of_a_level_without_any_are_taken_as_blind_guesses() -> None:
    never = ClassConfidence(100, 0, 0.9, None)
    four = [ClassConfidence(25, 0, 0.9, None)] * 4  # guess 0.25: band 0.575 to 0.7375
    assert [reaction(c, *four, overall=never) for c in (0.57, 0.58, 0.73, 0.74)] == ["less", "hold", "hold", "more"]


@pytest.mark.parametrize("overall", [ClassConfidence(0, 100, None, 0.9), ClassConfidence(50, 50, 0.6, 0.7)])
def test_a_level_whose_confidence_tells_nothing_is_left(overall: ClassConfidence) -> None:
    assert reaction(1.0, overall, overall=overall) == "less"


def test_a_band_upside_down_is_refused_with_a_mend() -> None:
    with pytest.raises(UsageError, match="low") as caught:
        ConfidenceDriven().create({"low": 0.9, "high": 0.5}, [level(KNOWN)])
    assert caught.value.mend


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 8))
def test_surer_never_means_dearer(one: float, other: float, start: int) -> None:
    strategy = ConfidenceDriven().create({}, [level(KNOWN)] * 9)
    after = [strategy.step((start, 1), Observation(0, confidence, start))[1] for confidence in sorted((one, other))]
    assert after[0] <= after[1]
