from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mobiprox_core.adaptation import (
    calibrate,
    calibration_from_json,
    calibration_to_json,
    expected_calibration_error,
    fit_temperature,
    probabilities,
    reliability,
)
from mobiprox_core.errors import BundleError, DataError, PluginError, UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Rerun
from mobiprox_core.replays import Paired, Trace, cheapest, paired, replay, sweep

NOTHING = ClassConfidence(0, 0, None, None)


def drawn(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits z, and labels drawn from softmax(z / temperature): the temperature is right by construction."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(count, classes)).astype(np.float32)
    # The largest of logits plus Gumbel noise is a draw from their softmax.
    return logits, (logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1)


def one_hot(*labels: int, classes: int = 3, height: float = 4.0) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[list(labels)] * height


def flat(*costs: float, classes: int = 3) -> list[LevelCalibration]:
    return [LevelCalibration(cost, None, 1.0, NOTHING, (NOTHING,) * classes) for cost in costs]


# ---------------------------------------------------------------------------------------------------------------------- confidence


def test_probabilities_are_softmax_of_logits_over_temperature() -> None:
    logits = np.log(np.array([[1, 4, 16]], dtype=np.float32))
    np.testing.assert_allclose(probabilities(logits), [[1 / 21, 4 / 21, 16 / 21]], rtol=1e-6)
    np.testing.assert_allclose(probabilities(logits, temperature=2.0), [[1 / 7, 2 / 7, 4 / 7]], rtol=1e-6)


def test_probabilities_of_a_network_that_ends_in_softmax_are_left_alone_at_temperature_1() -> None:
    given_out = np.array([[0.25, 0.75], [0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(given_out, already_softmax=True), given_out, atol=1e-30)
    np.testing.assert_allclose(probabilities(given_out, already_softmax=True, temperature=0.5)[0], [0.1, 0.9], rtol=1e-6)


def test_huge_logits_do_not_overflow() -> None:
    np.testing.assert_array_equal(probabilities(np.array([[3e38, 0.0]], dtype=np.float32)), [[1.0, 0.0]])


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 1.7, 4.0])
def test_a_temperature_put_in_is_found_again(temperature: float) -> None:
    logits, labels = drawn(20_000, 6, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@given(st.integers(0, 50), st.floats(0.2, 5))
@settings(max_examples=25, deadline=None)
def test_no_nearby_temperature_is_likelier_than_the_fitted_one(seed: int, temperature: float) -> None:
    logits, labels = drawn(60, 4, temperature, seed)
    assume((logits.argmax(axis=1) != labels).any())  # without mistakes there is nothing to learn it from, see below

    def cost(t: float) -> float:
        scaled = logits.astype(np.float64) / t
        peak = scaled.max(axis=1)
        return float((np.log(np.exp(scaled - peak[:, None]).sum(axis=1)) + peak - scaled[np.arange(60), labels]).mean())

    fitted = fit_temperature(logits, labels)
    for other in fitted * np.array([0.9, 0.99, 1.01, 1.1]):
        if 0.05 <= other <= 20:
            assert cost(fitted) <= cost(other) + 1e-12


def test_scaling_the_logits_scales_the_temperature() -> None:
    logits, labels = drawn(500, 5, 1.3)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3 * fit_temperature(logits, labels), rel=1e-5)


def test_without_mistakes_there_is_nothing_to_learn_a_temperature_from() -> None:
    assert fit_temperature(one_hot(0, 1, 2), np.array([0, 1, 2])) == 1.0


def test_the_temperature_stays_bounded_where_the_labels_contradict_the_network() -> None:
    assert fit_temperature(one_hot(0, 1, 2), np.array([1, 2, 0])) == pytest.approx(20)
    assert 0.04 < fit_temperature(one_hot(*[0] * 999, 1, height=0.01), np.array([0] * 1000)) < 0.06


def test_the_calibration_error_is_the_gap_between_confidence_and_hits() -> None:
    assert expected_calibration_error(np.array([0.9] * 10), np.array([True] * 9 + [False])) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.9] * 10), np.array([True] * 5 + [False] * 5)) == pytest.approx(0.4)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == pytest.approx(0)


def test_fitting_lowers_the_calibration_error_of_an_overconfident_network() -> None:
    logits, labels = drawn(4000, 5, 3.0)
    hits = logits.argmax(axis=1) == labels
    before, after = (probabilities(logits, temperature=t).max(axis=1) for t in (1.0, fit_temperature(logits, labels)))
    assert expected_calibration_error(after, hits) < 0.03 < 0.1 < expected_calibration_error(before, hits)


def test_reliability_puts_hits_beside_confidences() -> None:
    """Four predictions at 0.9, three of them right; two at 0.55, one right."""
    probable = np.array([[0.9, 0.1]] * 4 + [[0.45, 0.55]] * 2, dtype=np.float32)
    found = reliability(probable, np.array([0, 0, 0, 1, 1, 0]), already_softmax=True, temperature=1.0, bins=5)
    assert found.counts == (0, 0, 2, 0, 4)
    assert found.confidence == (None, None, pytest.approx(0.55), None, pytest.approx(0.9))
    assert found.accuracy == (None, None, 0.5, None, 0.75)
    assert found.error == found.uncalibrated == pytest.approx((2 * 0.05 + 4 * 0.15) / 6)


def test_reliability_tells_what_the_temperature_mended() -> None:
    logits, labels = drawn(4000, 5, 3.0)
    found = reliability(logits, labels, already_softmax=False, temperature=3.0)
    assert found.error < 0.03 < 0.1 < found.uncalibrated


# --------------------------------------------------------------------------------------------------------------------- calibration


def test_confidences_are_counted_by_predicted_class() -> None:
    outputs = np.log(np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]], dtype=np.float32))
    (level,) = calibrate([outputs], np.array([0, 1, 2, 1]), [5.0])
    zero, one, two = level.classes
    p = probabilities(outputs, temperature=level.temperature)
    assert (zero.correct_count, zero.wrong_count) == (1, 2)
    assert zero.correct_mean == pytest.approx(p[0, 0])
    assert zero.wrong_mean == pytest.approx((p[1, 0] + p[2, 0]) / 2)
    assert (one.correct_count, one.wrong_count, one.wrong_mean) == (1, 0, None)
    assert two == NOTHING
    assert (level.overall.correct_count, level.overall.wrong_count) == (2, 2)
    assert level.accuracy == 0.5
    assert level.relative_cost == 1.0


def test_each_level_has_its_own_temperature_and_cost() -> None:
    (mild, mild_labels), (hot, _) = drawn(5000, 4, 1.0), drawn(5000, 4, 1.0)
    levels = calibrate([mild, hot * 3], mild_labels, [8.0, 2.0])
    assert levels[1].temperature == pytest.approx(3 * levels[0].temperature, rel=1e-4)
    assert [level.relative_cost for level in levels] == [1.0, 0.25]


def test_one_temperature_is_fitted_to_the_approximated_levels_together() -> None:
    (exact, labels), (scores, _) = drawn(4000, 4, 0.5), drawn(4000, 4, 0.5)
    levels = calibrate([exact, scores * 2, scores * 2], labels, [8.0, 4.0, 2.0], one_temperature=True)
    own = calibrate([exact, scores * 2, scores * 2], labels, [8.0, 4.0, 2.0])
    assert {level.temperature for level in levels} == {levels[0].temperature}
    assert levels[0].temperature == pytest.approx(own[1].temperature, rel=1e-6)
    assert own[0].temperature == pytest.approx(own[1].temperature / 2, rel=1e-4)


def test_without_labels_agreement_with_level_0_counts() -> None:
    exact, cheap = one_hot(0, 1, 2, 0), one_hot(0, 1, 2, 1, height=2.0)
    levels = calibrate([exact, cheap], None, [2.0, 1.0])
    assert [level.accuracy for level in levels] == [None, None]
    assert (levels[0].overall.correct_count, levels[0].overall.wrong_count, levels[0].temperature) == (4, 0, 1.0)
    assert (levels[1].overall.correct_count, levels[1].overall.wrong_count) == (3, 1)


def test_logits_and_their_softmax_calibrate_alike() -> None:
    logits, labels = drawn(400, 4, 2.0)
    given_out = probabilities(logits).astype(np.float32)
    from_logits, from_probabilities = calibrate([logits], labels, [1.0]), calibrate([given_out], labels, [1.0], already_softmax=True)
    assert from_probabilities[0].temperature == pytest.approx(from_logits[0].temperature, rel=1e-3)
    assert from_probabilities[0].overall.wrong_mean == pytest.approx(from_logits[0].overall.wrong_mean, rel=1e-3)


@pytest.mark.parametrize(
    ("outputs", "labels", "latencies", "hint"),
    [
        ([], None, [], "0 level"),
        ([one_hot(0)], None, [1.0, 2.0], "1 level"),
        ([one_hot(0, 1), one_hot(0)], None, [1.0, 1.0], "level 1"),
        ([one_hot(0), one_hot(0) * np.float32("nan")], None, [1.0, 1.0], "finite"),
        ([one_hot(0, 1)], np.array([0]), [1.0], "label"),
        ([one_hot(0, 1)], np.array([0, 3]), [1.0], "from 0 to 3"),
        ([one_hot(0, 1)], np.array([-1, 0]), [1.0], "from -1"),
        ([one_hot(0).reshape(1, 3, 1)], None, [1.0], "shape"),
        ([one_hot(0)[:0]], None, [1.0], "shape"),
    ],
)
def test_what_does_not_fit_together_is_refused(outputs: list[np.ndarray], labels: Any, latencies: list[float], hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        calibrate(outputs, labels, latencies)


# -------------------------------------------------------------------------------------------------------------------------- files


def written() -> list[dict[str, Any]]:
    logits, labels = drawn(100, 3, 1.5)
    return calibration_to_json(calibrate([logits, logits[:, [1, 0, 2]], one_hot(*labels)], labels, [3.0, 2.0, 1.0]))


def test_calibration_survives_json() -> None:
    logits, labels = drawn(100, 3, 1.5)
    levels = calibrate([logits, logits[:, [1, 0, 2]], one_hot(*labels)], labels, [3.0, 2.0, 1.0])
    assert calibration_from_json(json.loads(json.dumps(calibration_to_json(levels)))) == levels
    unlabelled = calibrate([logits], None, [3.0])
    assert calibration_from_json(json.loads(json.dumps(calibration_to_json(unlabelled)))) == unlabelled


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ((0, "temperature"), 0, "calibration[0].temperature"),
        ((0, "temperature"), "1", "calibration[0].temperature"),
        ((1, "temperature"), float("nan"), "calibration[1].temperature"),
        ((1, "relative_cost"), -1, "calibration[1].relative_cost"),
        ((1, "relative_cost"), True, "calibration[1].relative_cost"),
        ((0, "accuracy"), 1.5, "calibration[0].accuracy"),
        ((0, "surprise"), 1, "calibration[0]"),
        ((0, "classes"), [], "calibration[0].classes"),
        ((0, "classes"), 3, "calibration[0].classes"),
        ((0, "overall"), None, "calibration[0].overall"),
        ((0, "overall", "wrong_count"), -1, "calibration[0].overall.wrong_count"),
        ((0, "overall", "wrong_count"), 0, "calibration[0].overall.wrong_mean"),
        ((0, "overall", "wrong_mean"), None, "calibration[0].overall.wrong_mean"),
        ((0, "overall", "wrong_mean"), 2, "calibration[0].overall.wrong_mean"),
        ((0, "classes", 1, "correct_count"), 1.0, "calibration[0].classes[1].correct_count"),
        ((1, "agreement", "samples"), -1, "calibration[1].agreement.samples"),
        ((1, "agreement", "accepted"), [0.5], "calibration[1].agreement.accepted"),
        ((1, "agreement", "thresholds", 3), 0.0, "calibration[1].agreement.thresholds"),
        ((1, "agreement", "differing", 3), 2, "calibration[1].agreement.differing[3]"),
        ((1, "agreement"), {}, "calibration[1].agreement"),
    ],
)
def test_damaged_calibration_is_refused_and_the_spot_named(path: tuple[Any, ...], value: Any, where: str) -> None:
    damaged = copy.deepcopy(written())
    spot: Any = damaged
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    with pytest.raises(BundleError) as caught:
        calibration_from_json(damaged)
    assert caught.value.where == where


@pytest.mark.parametrize("value", [None, {}, [], [None], [[]], ["x"], "text"])
def test_what_is_no_calibration_at_all_is_refused(value: Any) -> None:
    with pytest.raises(BundleError):
        calibration_from_json(value)


def test_levels_with_different_numbers_of_classes_are_refused() -> None:
    damaged = written()
    damaged[1]["classes"].pop()
    with pytest.raises(BundleError, match="differ"):
        calibration_from_json(damaged)


# ------------------------------------------------------------------------------------------------------------------------- replay


@dataclass(frozen=True)
class Script:
    """Level after sample t is levels[t], whatever is observed."""

    levels: tuple[int, ...]

    def start(self) -> int:
        return 0

    def step(self, state: int, observation: Observation) -> tuple[int, int]:
        return state + 1, self.levels[state]


@dataclass
class Diary:
    """Stays at a level, and writes down what it is shown."""

    stay: int
    seen: list[Observation]

    def start(self) -> int:
        return 0

    def step(self, state: int, observation: Observation) -> tuple[int, int]:
        self.seen.append(observation)
        return state, self.stay


def test_the_first_sample_runs_exactly_and_every_other_at_the_level_chosen_before_it() -> None:
    exact, middle, cheap = one_hot(0, 1, 2, 0), one_hot(0, 1, 0, 0), one_hot(1, 0, 0, 2)
    done = replay(Script((2, 1, 2, 0)), [exact, middle, cheap], flat(1.0, 0.5, 0.2), np.array([0, 0, 2, 2]), notes="abcd")
    assert done.level.tolist() == [0, 2, 1, 2]
    assert done.label.tolist() == [0, 0, 0, 2]
    assert done.exact_label.tolist() == [0, 1, 2, 0]
    assert done.correct.tolist() == [True, True, False, True]
    assert done.exact_correct.tolist() == [True, False, True, False]
    assert (done.accuracy, done.agreement) == (0.75, 0.25)
    assert done.relative_cost == pytest.approx((1 + 0.2 + 0.5 + 0.2) / 4)
    assert (done.mean_level, done.switches, done.steps) == (1.25, 3, 4)
    assert [(s.level, s.accuracy, s.agreement, s.relative_cost) for s in done.static] == [
        (0, 0.5, 1.0, 1.0),
        (1, 0.25, 0.75, 0.5),
        (2, 0.5, 0.0, 0.2),
    ]
    assert done.best_static.level == 2
    assert json.loads(json.dumps(done.to_json()))["timeline"]["notes"] == list("abcd")


def test_an_oracle_beats_every_single_level() -> None:
    """Easy and hard samples alternate; the cheap level fails the hard ones. The oracle knows which come next."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 400)
    hard = rng.random(400) < 0.3
    outputs = [one_hot(*labels), one_hot(*np.where(hard, (labels + 1) % 3, labels))]
    oracle = Script((*(0 if h else 1 for h in hard[1:].tolist()), 0))
    done = replay(oracle, outputs, flat(1.0, 0.4), labels)
    assert done.accuracy == 1.0
    assert done.relative_cost < 0.65
    assert done.best_static.level == 1
    assert done.best_static.accuracy == pytest.approx(1 - hard.mean())


def test_the_strategy_sees_calibrated_confidence_and_label_of_the_level_that_ran() -> None:
    outputs = [one_hot(0, 1), one_hot(2, 2)]
    levels = [LevelCalibration(c, None, t, NOTHING, (NOTHING,) * 3) for c, t in ((1.0, 1.0), (0.5, 2.0))]
    seen: list[Observation] = []
    done = replay(Diary(1, seen), outputs, levels)
    assert [(o.label, o.level) for o in seen] == [(0, 0), (2, 1)]
    assert [o.confidence for o in seen] == pytest.approx([np.e**4 / (np.e**4 + 2), np.e**2 / (np.e**2 + 2)])
    assert done.confidence.tolist() == [o.confidence for o in seen]


def test_without_labels_correct_means_equal_to_level_0() -> None:
    done = replay(Script((1, 1, 1)), [one_hot(0, 1, 2), one_hot(0, 1, 1)], flat(1.0, 0.5))
    assert done.correct.tolist() == [True, True, False]
    assert done.accuracy is None
    assert done.agreement == pytest.approx(2 / 3)
    assert done.to_json()["accuracy"] is None


def test_a_walk_that_keeps_a_level_is_as_good_as_that_level() -> None:
    logits, labels = drawn(300, 3, 1.0)
    done = replay(Diary(0, []), [logits, logits[:, ::-1]], flat(1.0, 0.1), labels)
    assert done.best_static.accuracy == done.accuracy == done.static[0].accuracy
    assert done.best_static.level == 0
    assert done.switches == 0


@pytest.mark.parametrize("level", [2, -1])
def test_a_strategy_that_leaves_the_levels_is_named(level: int) -> None:
    with pytest.raises(PluginError, match=r"Script chose level .* after sample 1; there are levels 0 to 1"):
        replay(Script((0, level, 0)), [one_hot(0, 1, 2)] * 2, flat(1.0, 0.5))


# ------------------------------------------------------------------------------------------------------------------- once more, dearer


@dataclass(frozen=True)
class AlwaysTwice:
    """Every sample at level 2 first, then again at `again`."""

    again: int

    def start(self) -> int:
        return 0

    def step(self, state: int, observation: Observation) -> tuple[int, int]:
        return state, 2 if observation.rerun or observation.level != 2 else Rerun(self.again)


def test_a_rerun_answers_for_the_sample_and_both_runs_are_paid_for() -> None:
    exact, cheap = one_hot(0, 1, 2), one_hot(0, 0, 0)
    done = replay(AlwaysTwice(1), [cheap, exact, cheap], flat(1.0, 0.5, 0.125), np.array([0, 1, 2]))
    assert done.level.tolist() == [0, 1, 1]
    assert done.label.tolist() == [0, 1, 2]
    assert done.cost.tolist() == [1.0, 0.625, 0.625]
    assert (done.relative_cost, done.reruns) == (0.75, 2)


@pytest.mark.parametrize("again", [2, 3])
def test_a_rerun_that_is_no_dearer_is_refused(again: int) -> None:
    with pytest.raises(PluginError, match=r"AlwaysTwice wants sample 1 again at level . after level 2"):
        replay(AlwaysTwice(again), [one_hot(0, 1, 2)] * 4, flat(1.0, 0.5, 0.4, 0.3))


def test_a_trace_tells_costs_and_surroundings() -> None:
    seen: list[Observation] = []
    around = [{"battery": 0.5}, {"hour": 23.0}, {}]
    trace = Trace.of([one_hot(0, 1, 2)] * 2, flat(1.0, 0.5), costs=[20.0, 5.0], surroundings=around)
    assert trace.replay(Diary(1, seen)).relative_cost == pytest.approx((1 + 0.25 + 0.25) / 3)
    assert [(o.battery, o.hour) for o in seen] == [(0.5, None), (None, 23.0), (None, None)]


@pytest.mark.parametrize("wrong", [{"costs": [1.0]}, {"costs": [1.0, 0.0]}, {"groups": np.array(["a"])}, {"surroundings": [{}]}])
def test_what_does_not_fit_a_trace_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        Trace.of([one_hot(0, 1, 2)] * 2, flat(1.0, 0.5), **wrong)


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_agreement_counts_what_is_sure_enough_and_differs(seed: int, grouped: bool) -> None:
    rng = np.random.default_rng(seed)
    exact, cheap = (rng.normal(size=(30, 3)).astype(np.float32) for _ in range(2))
    who = rng.choice(["a", "b", "c"], 30) if grouped else None
    level = calibrate([exact, cheap], None, [2.0, 1.0], groups=who)[1]
    found = level.agreement
    assert found is not None
    sure = probabilities(cheap, temperature=level.temperature).max(axis=1)
    differs = exact.argmax(axis=1) != cheap.argmax(axis=1)
    assert (found.thresholds[0], found.samples, found.groups) == (0.0, 30, 0 if who is None else len(set(who)))
    for threshold, accepted, differing, by_group in zip(
        found.thresholds, found.accepted, found.differing, found.group_differing, strict=True
    ):
        wrong = (sure >= threshold) & differs
        assert accepted == pytest.approx((sure >= threshold).mean())
        assert differing == pytest.approx(wrong.mean())
        shares = [wrong.mean()] if who is None else [wrong[who == name].mean() for name in sorted(set(who))]
        assert by_group == pytest.approx(np.mean(shares))


# --------------------------------------------------------------------------------------------------------- comparisons and sweeps


def test_a_paired_interval_is_students_over_groups() -> None:
    """Four groups of ten; one walk is right 3, 1, 2 and 2 times more often in them. By hand: mean 2 of 10, deviation 0.0816, t = 3.182."""
    groups = np.repeat(list("abcd"), 10)
    correct, other = np.zeros(40, bool), np.zeros(40, bool)
    for group, more in enumerate((3, 1, 2, 2)):
        correct[10 * group : 10 * group + more] = True
    found = paired(correct, other, groups)
    half = 3.182 * np.std([0.3, 0.1, 0.2, 0.2], ddof=1) / 2
    assert (found.difference_pp, found.units) == (pytest.approx(20), 4)
    assert (found.low_pp, found.high_pp) == (pytest.approx(100 * (0.2 - half), abs=0.05), pytest.approx(100 * (0.2 + half), abs=0.05))


def test_a_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Groups that differ: six people, some of whom a level serves much worse; the truth is -5 points."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        worse = np.repeat(rng.normal(0.05, 0.03, 12), 80)
        other = rng.random(960) < 0.9
        correct = other & (rng.random(960) >= worse / 0.9)
        found = paired(correct, other, np.repeat(np.arange(12), 80).astype(np.str_))
        covered += found.low_pp <= -5 <= found.high_pp
    assert covered >= 0.92 * 400


def test_walks_that_cannot_be_told_apart_differ_by_nothing() -> None:
    same = np.array([True, False, True])
    assert paired(same, same) == Paired(0.0, 0.0, 0.0, 3)


class Staying:
    """Offers a strategy that keeps one level, which cannot be level 9."""

    name, summary, options = "stay", "stays", {}

    def create(self, options: Any, levels: Any) -> Diary:
        if options["level"] == 9:
            raise UsageError("no level 9")
        return Diary(options["level"], [])


def test_options_are_chosen_by_what_they_may_lose_and_not_by_luck() -> None:
    """400 samples: level 1 is never told from the exact one, level 2 is wrong for once here and right for once there, level 3 loses 10 points."""
    exact = np.eye(2, dtype=np.float32)[np.zeros(400, int)]
    outputs, labels = [exact.copy() for _ in range(4)], np.zeros(400, int)
    labels[:20] = 1
    outputs[2][0:20] = outputs[2][380:] = [0, 1]
    outputs[3][360:] = [0, 1]
    levels = flat(1.0, 0.5, 0.25, 0.1)
    found = {point.options["level"]: point for point in sweep(Trace.of(outputs, levels, labels), Staying(), levels, {"level": range(4)})}
    assert found[2].against_exact.difference_pp == pytest.approx(0, abs=0.3)
    assert 2 < found[2].loss_upper_pp == -found[2].against_exact.low_pp
    assert found[1].loss_upper_pp == pytest.approx(100 * (1 - 0.025 ** (1 / 400))), "what 400 samples cannot tell"
    points = tuple(found.values())
    assert [None if (best := cheapest(points, pp)) is None else best.options["level"] for pp in (0.5, 1, 5, 15)] == [None, 1, 2, 3]


def test_a_sweep_leaves_out_what_the_strategy_refuses() -> None:
    levels = flat(1.0, 0.5, 0.25, 0.1)
    trace = Trace.of([one_hot(0, 1, 2, 0), one_hot(0, 1, 2, 1), one_hot(0, 1, 0, 1), one_hot(0, 1, 2, 1)], levels)
    found = sweep(trace, Staying(), levels, {"level": [2, 9, 1, 3, 0]})
    assert [(p.options["level"], p.on_front) for p in found] == [(3, True), (2, False), (1, False), (0, True)]
    with pytest.raises(UsageError, match="no level 9"):
        sweep(trace, Staying(), levels, {"level": [9]})
