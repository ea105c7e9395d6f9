from __future__ import annotations

import math

import numpy as np
import pytest
from mobiprox_strategy_guarded.bounds import Promise, binomial_tail, hoeffding_bentkus
from mobiprox_strategy_guarded.strategy import Guarded, drawn

from mobiprox_core.adaptation import agreement, calibrate
from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Options, Rerun
from mobiprox_core.replays import Trace
from mobiprox_core.testing import StrategyContract

NOTHING = ClassConfidence(0, 0, None, None)
EXACT = LevelCalibration(1.0, None, 1.0, NOTHING, ())


class TestGuardedContract(StrategyContract):
    @pytest.fixture
    def offer(self) -> Guarded:
        return Guarded()

    @pytest.fixture(params=[0.0, 0.05, 1.0], ids="audit {}".format)
    def options(self, request: pytest.FixtureRequest) -> Options:
        return {"max_loss_pp": 2, "audit": request.param}


def level(cost: float, samples: int, differing: int, groups: int = 0) -> LevelCalibration:
    """A level with confidences spread over 0..1, of which the least sure ones differ; groups dealt out in turn."""
    sure = (np.arange(samples) + 0.5) / samples
    who = (np.arange(samples) % groups).astype(np.str_) if groups else None
    return LevelCalibration(cost, None, 1.0, NOTHING, (), agreement(sure, np.arange(samples) < differing, who))


# ------------------------------------------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize(("units", "lost", "risk"), [(10, 0, 0.3), (10, 3, 0.3), (500, 4, 0.02), (7, 7, 0.5), (2000, 60, 0.02)])
def test_the_tail_is_the_binomial_one(units: int, lost: int, risk: float) -> None:
    expected = sum(math.comb(units, k) * risk**k * (1 - risk) ** (units - k) for k in range(lost + 1))
    assert binomial_tail(lost / units, units, risk) == pytest.approx(expected, rel=1e-9)


def test_the_bound_for_any_losses_covers_the_exact_one_for_losses_of_0_and_1() -> None:
    for units in (20, 200):
        for lost in range(0, units, 5):
            for risk in (0.01, 0.1, 0.4):
                assert hoeffding_bentkus(lost / units, units, risk) >= binomial_tail(lost / units, units, risk) * (1 - 1e-9)
    assert hoeffding_bentkus(0.0, 100, 0.02) == pytest.approx(0.98**100)


def test_how_small_a_bound_may_be() -> None:
    """Known numbers: 1 point needs 99 units in expectation, and 299 with 95 % confidence; 2 points at 90 % take 114."""
    assert Promise(0.01, "expected", 0.1).units() == 99
    assert Promise(0.01, "probable", 0.05).units() == 299
    assert Promise(0.02, "probable", 0.1).units() == 114
    for promise in (Promise(0.013, "expected", 0.1, 3), Promise(0.02, "probable", 0.07, 4)):
        units = promise.units()
        assert promise.smallest(units) <= promise.bound < promise.smallest(units - 1)
        assert promise.kept(0.0, units, binary=True)
        assert not promise.kept(0.0, units - 1, binary=True)


def test_draws_look_uniform() -> None:
    draws = np.array([drawn(count) for count in range(20_000)])
    assert abs(draws.mean() - 0.5) < 0.01
    assert abs((draws < 0.05).mean() - 0.05) < 0.005
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.02


# -------------------------------------------------------------------------------------------------------------------------- refusals


def test_too_few_units_are_refused_with_the_smallest_honest_bound() -> None:
    with pytest.raises(UsageError, match=r"5 groups.*no loss below 37 points at 90% confidence; 2 is asked for") as caught:
        Guarded().create({"max_loss_pp": 2}, [EXACT, level(0.3, 1000, 0, groups=5)])
    assert caught.value.mend is not None
    assert "max_loss_pp: 37.0" in caught.value.mend
    assert "114 groups" in caught.value.mend
    assert "unit: sample" in caught.value.mend
    Guarded().create({"max_loss_pp": 37.0}, [EXACT, level(0.3, 1000, 0, groups=5)])
    Guarded().create({"max_loss_pp": 2, "unit": "sample"}, [EXACT, level(0.3, 1000, 0, groups=5)])


def test_an_expected_bound_needs_fewer() -> None:
    levels = [EXACT, level(0.3, 60, 0)]
    with pytest.raises(UsageError, match="60 samples"):
        Guarded().create({"max_loss_pp": 2}, levels)
    assert Guarded().create({"max_loss_pp": 2, "promise": "expected"}, levels).first == 1


def test_choosing_among_levels_has_its_price() -> None:
    levels = [EXACT, level(0.5, 150, 0), level(0.3, 150, 0), level(0.2, 150, 0)]
    with pytest.raises(UsageError, match="over 3 levels"):
        Guarded().create({"max_loss_pp": 2}, levels)
    assert Guarded().create({"max_loss_pp": 2, "level": 2}, levels).first == 2
    with pytest.raises(UsageError, match="no level 4"):
        Guarded().create({"max_loss_pp": 2, "level": 4}, levels)


# ------------------------------------------------------------------------------------------------------------------------------ gate


def test_the_threshold_leaves_a_margin_to_the_bound() -> None:
    """Of 1000 samples the 200 least sure differ. 2 points could be 20 samples; 90 % confidence allows fewer."""
    strategy = Guarded().create({"max_loss_pp": 2, "audit": 0}, [EXACT, level(0.2, 1000, 200)])
    kept = 200 - 1000 * strategy.thresholds[1]
    assert 0 <= kept < 20
    assert strategy.first == 1


def test_where_no_level_keeps_the_bound_the_exact_network_runs() -> None:
    sure = np.linspace(0, 1, 1000)
    wrong = LevelCalibration(0.2, None, 1.0, NOTHING, (), agreement(sure, sure > 0.5))
    strategy = Guarded().create({"max_loss_pp": 2}, [EXACT, wrong])
    assert strategy.step(strategy.start(), Observation(0, 1.0, 0))[1] == 0


def test_unsure_answers_run_again_and_sure_ones_stand() -> None:
    strategy = Guarded().create({"max_loss_pp": 2, "audit": 0}, [EXACT, level(0.2, 1000, 200)])
    state, first = strategy.step(strategy.start(), Observation(0, 0.1, 0))
    assert first == 1
    assert strategy.step(state, Observation(0, 0.9, 1))[1] == 1
    after, again = strategy.step(state, Observation(0, 0.1, 1))
    assert (again, type(again)) == (0, Rerun)
    assert strategy.step(after, Observation(3, 0.1, 0, rerun=True)) == (state, 1)


def drift(count: int, differing: float, seed: int) -> tuple[list[np.ndarray], list[LevelCalibration]]:
    """Two levels on data whose cheap answers differ now and then, though as sure as ever; calibrated where they never did."""
    rng = np.random.default_rng(seed)
    exact = rng.integers(0, 3, count)
    cheap = np.where(rng.random(count) < differing, (exact + 1) % 3, exact)
    logits = np.log(9) + np.log(2)  # confidence 0.9 of three classes
    return [np.eye(3, dtype=np.float32)[own] * logits for own in (exact, cheap)], [EXACT, level(0.2, 1000, 0)]


def test_audits_cost_what_they_say_and_lose_nothing() -> None:
    outputs, levels = drift(10_000, 0.0, 0)
    done = Trace.of(outputs, levels).replay(Guarded().create({"max_loss_pp": 2, "audit": 0.05}, levels))
    assert done.agreement == 1
    assert done.relative_cost == pytest.approx(0.2 + 0.05, abs=0.01)
    assert done.reruns == pytest.approx(500, rel=0.2)


def test_audits_hold_the_bound_when_the_world_changes() -> None:
    """A tenth of the sure answers has become wrong, of which the calibration knew nothing."""
    outputs, levels = drift(20_000, 0.1, 1)
    trace = Trace.of(outputs, levels)
    blind = trace.replay(Guarded().create({"max_loss_pp": 2, "audit": 0}, levels))
    watchful = trace.replay(Guarded().create({"max_loss_pp": 2}, levels))
    assert blind.agreement < 0.91
    slack = (1 + 0.005 / 0.05) / (0.005 * 20_000)
    assert 1 - watchful.agreement < 0.02 + slack
    assert watchful.relative_cost < 1


def test_where_most_would_run_twice_the_exact_network_runs_alone() -> None:
    """Everything has become wrong. Confidences of the calibration are even, so a level of cost 0.2 pays up to a threshold of 0.8."""
    outputs, levels = drift(5000, 1.0, 2)
    done = Trace.of(outputs, levels).replay(Guarded().create({"max_loss_pp": 2, "audit": 0.2}, levels))
    assert done.relative_cost < 1.02
    assert 1 - done.agreement < 0.02 + (1 + 0.005 / 0.2) / (0.005 * 5000)


@pytest.mark.parametrize(("promise", "allowed"), [("probable", 0.1), ("expected", 1.0)])
def test_the_bound_holds_over_random_splits(promise: str, allowed: float) -> None:
    """200 splits of one pool into calibration and the rest: 2 points at 90 % confidence, broken in a tenth of them at most."""
    rng = np.random.default_rng(5)
    exact = rng.normal(0, 2, (6000, 5)).astype(np.float32)
    outputs = [exact, *(exact + rng.normal(0, noise, exact.shape).astype(np.float32) for noise in (0.2, 0.6, 1.2))]
    losses, costs = [], []
    for _ in range(200):
        order = rng.permutation(6000)
        chosen, rest = order[:1000], order[1000:]
        levels = calibrate([own[chosen] for own in outputs], None, [10.0, 6.0, 4.0, 2.0])
        strategy = Guarded().create({"max_loss_pp": 2, "promise": promise, "audit": 0}, levels)
        sure = [np.exp(own[rest] / c.temperature) for own, c in zip(outputs, levels, strict=True)]
        first = strategy.first
        stands = (sure[first].max(axis=1) / sure[first].sum(axis=1)) >= strategy.thresholds[first]
        losses.append((stands & (outputs[first][rest].argmax(axis=1) != exact[rest].argmax(axis=1))).mean())
        costs.append(levels[first].relative_cost + (1 - stands.mean() if first else 0.0))
    assert np.mean(np.array(losses) > 0.02) <= allowed
    assert np.mean(losses) <= 0.02
    assert np.mean(losses) > 0.003, "so careful that nothing is left to gain"
    assert np.mean(costs) < 0.9
