from __future__ import annotations

import pytest
from mobiprox_strategy_kalman.strategy import KalmanFiltered, KalmanState

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation
from mobiprox_core.testing import StrategyContract

LEVELS = [LevelCalibration(1.0, None, 1.0, ClassConfidence(0, 0, None, None), ())] * 9


class TestKalmanContract(StrategyContract):
    @pytest.fixture
    def offer(self) -> KalmanFiltered:
        return KalmanFiltered()


def states(labels: str, **options: float | str) -> list[KalmanState]:
    """The state after each prediction, one letter a class."""
    strategy = KalmanFiltered().create(options, LEVELS)
    state, level, walked = strategy.start(), 0, []
    for label in labels:
        state, level = strategy.step(state, Observation(ord(label), 0.5, level))
        walked.append(state)
    return walked


def test_steady_predictions_double_the_step() -> None:
    assert [s.level for s in states("AAAAAA")] == [1, 3, 7, 8, 8, 8]
    assert [s.level for s in states("AAAA", increase="linear")] == [1, 2, 3, 4]


def test_it_settles_at_a_gain_of_a_quarter() -> None:
    """The variance solves P = P/(P+1) + 0.1 before a measurement: P = (0.1 + sqrt(0.41)) / 2."""
    assert states("A" * 40)[-1].variance == pytest.approx((0.1 + 0.41**0.5) / 2, rel=1e-6)


def test_one_change_is_forgiven_and_three_in_a_row_are_not() -> None:
    settled = states("A" * 40 + "BCD")
    assert [s.steadiness for s in settled[-3:]] == pytest.approx([0.73, 0.53, 0.39], abs=0.01)
    assert [s.level for s in settled[-4:]] == [8, 8, 8, 4]


def test_a_filter_that_trusts_every_prediction_is_the_naive_strategy() -> None:
    trusting = states("AABAAB", measurement_noise=1e-9, increase="linear")
    assert [s.level for s in trusting] == [1, 2, 1, 0, 1, 0]


def test_limits_upside_down_are_refused_with_a_mend() -> None:
    with pytest.raises(UsageError, match="less") as caught:
        KalmanFiltered().check({"less": 0.99})
    assert caught.value.mend
