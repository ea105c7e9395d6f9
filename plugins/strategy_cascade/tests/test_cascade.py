from __future__ import annotations

import numpy as np
import pytest
from mobiprox_strategy_cascade.strategy import Cascading

from mobiprox_core.adaptation import agreement, calibrate
from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Rerun
from mobiprox_core.replays import Trace
from mobiprox_core.testing import StrategyContract

NOTHING = ClassConfidence(0, 0, None, None)
SURE = np.array([0.5, 0.6, 0.7, 0.8, 0.9])


class TestCascadeContract(StrategyContract):
    @pytest.fixture
    def offer(self) -> Cascading:
        return Cascading()


def level(cost: float, *differs: int) -> LevelCalibration:
    """A level with the confidences SURE, whose answers numbered `differs` are not the exact network's."""
    return LevelCalibration(cost, None, 1.0, NOTHING, (), agreement(SURE, np.isin(np.arange(5), differs)))


EXACT = level(1.0)


def test_the_threshold_leaves_no_more_disagreement_than_allowed() -> None:
    one = [EXACT, level(0.2, 0, 2)]
    assert Cascading().create({"max_disagreement_pp": 0}, one).thresholds == (0.0, 0.8)
    assert Cascading().create({"max_disagreement_pp": 20}, one).thresholds == (0.0, 0.6)
    assert Cascading().create({"max_disagreement_pp": 40}, one).thresholds == (0.0, 0.0)


def test_it_begins_where_the_cost_to_expect_is_least() -> None:
    """The cheapest level is so often unsure that a dearer one costs less in all."""
    levels = [EXACT, level(0.3, 0), level(0.2, 0, 1, 2, 3)]  # repeated: 1 of 5, 4 of 5
    assert Cascading().create({"max_disagreement_pp": 0}, levels).first == 1
    assert Cascading().create({"max_disagreement_pp": 100}, levels).first == 2
    assert Cascading().create({"max_disagreement_pp": 0, "level": 2}, levels).first == 2


def test_where_no_gate_saves_anything_the_exact_network_runs_alone() -> None:
    for hopeless in (level(0.3, 4), level(0.9, 0, 1, 2, 3)):
        assert Cascading().create({"max_disagreement_pp": 0}, [EXACT, hopeless]).first == 0


def test_unsure_inputs_run_again_and_the_next_begins_cheaply() -> None:
    strategy = Cascading().create({"max_disagreement_pp": 0}, [EXACT, level(0.2, 0)])
    state, chosen = strategy.step(strategy.start(), Observation(0, 0.6, 1))
    assert (chosen, type(chosen)) == (1, int)
    state, chosen = strategy.step(state, Observation(0, 0.59, 1))
    assert (chosen, type(chosen)) == (0, Rerun)
    _, after = strategy.step(state, Observation(0, 0.1, 0, rerun=True))
    assert (after, type(after)) == (1, int)


def test_a_label_that_differs_from_the_one_before_must_be_surer() -> None:
    strategy = Cascading().create({"threshold": 0.6, "change": 0.5}, [EXACT, level(0.2)])
    before, _ = strategy.step(strategy.start(), Observation(3, 0.6, 1))  # the first may be anything
    assert not isinstance(strategy.step(before, Observation(3, 0.6, 1))[1], Rerun)
    assert isinstance(strategy.step(before, Observation(4, 0.79, 1))[1], Rerun)
    assert not isinstance(strategy.step(before, Observation(4, 0.8, 1))[1], Rerun)
    unsure, _ = strategy.step(before, Observation(4, 0.7, 1))
    now, _ = strategy.step(unsure, Observation(5, 0.1, 0, rerun=True))
    assert not isinstance(strategy.step(now, Observation(5, 0.7, 1))[1], Rerun), "what stood is the answer of the exact network"


def test_a_dearer_level_may_take_the_place_of_the_exact_one() -> None:
    levels = [EXACT, level(0.4, 0), level(0.1, 0, 1)]
    strategy = Cascading().create({"max_disagreement_pp": 20, "again": 1}, levels)
    assert (strategy.first, strategy.again, strategy.thresholds) == (2, 1, (0.0, 0.0, 0.7))  # level 1 uses up all that is allowed


def test_agreement_and_cost_on_the_calibration_data_are_as_fitted() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(0, 3, (2000, 4)).astype(np.float32)
    outputs = [exact, *(exact + rng.normal(0, noise, exact.shape).astype(np.float32) for noise in (0.3, 1.5))]
    levels = calibrate(outputs, None, [10.0, 4.0, 2.0])
    done = Trace.of(outputs, levels).replay(Cascading().create({"max_disagreement_pp": 2}, levels))
    assert 0.975 < done.agreement < 1
    assert done.reruns > 0
    assert done.relative_cost < 0.6
    assert done.agreement > done.best_static.agreement


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"level": 2}, "no level 2"),
        ({"again": 2}, "no level 2"),
        ({"level": 1, "again": 1}, "no cheaper"),
        ({"threshold": 0.5, "max_disagreement_pp": 1}, "threshold"),
    ],
)
def test_what_contradicts_itself_or_the_levels_is_refused(options: dict[str, int], hint: str) -> None:
    with pytest.raises(UsageError, match=hint) as caught:
        Cascading().create(options, [EXACT, level(0.3)])
    assert caught.value.mend


def test_without_agreement_there_is_nothing_to_fit() -> None:
    with pytest.raises(UsageError, match="level 1 agrees"):
        Cascading().create({}, [EXACT, LevelCalibration(0.3, None, 1.0, NOTHING, ())])
