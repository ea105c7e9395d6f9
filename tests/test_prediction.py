"""Predictions from profiles: sums against sums by hand, fits against made-up truths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiprox_core.configuration import EXACT, Configuration, Setting
from mobiprox_core.interfaces import OperatorProfile, Profile, SettingProfile
from mobiprox_core.measurement import Loss, not_below_zero
from mobiprox_core.prediction import POWERS, Expectation, Latency, Scale, Table, additive, p1, p2, random_codes, rank_correlation, trust


def setting(number: int) -> Setting:
    return Setting.of("toy", n=number) if number else EXACT


PROFILE = Profile(
    tuple(
        OperatorProfile(
            f"op{o}", tuple(SettingProfile(setting(n), 1.0 - 0.2 * n, 0.01, 0.1 * n * (o + 1), loss=float(n)) for n in range(3 - o % 2))
        )
        for o in range(4)
    ),
    latency_ms=5.0,
    samples=64,
)
BOTH = Configuration({"op0": setting(2), "op3": setting(1)})


def test_sums_are_those_of_the_settings() -> None:
    table = Table.of(PROFILE)
    saving, divergence, changed = table.sums(table.codes([BOTH, Configuration({})]))
    np.testing.assert_allclose(saving, [0.6, 0], atol=1e-6)
    np.testing.assert_allclose(divergence, [0.2 + 0.4, 0], atol=1e-6)
    assert changed.tolist() == [2, 0]
    assert additive(table)([BOTH])[0] == pytest.approx(0.6)
    assert p2(PROFILE)([BOTH])[0] == 3


def test_codes_and_configurations_are_inverse_and_foreign_settings_are_told() -> None:
    table = Table.of(PROFILE)
    assert table.configuration(table.codes([BOTH])[0]) == BOTH
    assert table.knows(BOTH)
    foreign = Configuration({"op1": setting(2)})
    assert not table.knows(foreign)
    with pytest.raises(ValueError, match="no setting"):
        table.codes([foreign])


def test_p1_judges_the_summed_outputs() -> None:
    exact = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    swing = np.array([[-0.6, 0.6], [0, 0]], np.float16)
    changes = {("op0", setting(2)): swing, ("op3", setting(1)): -swing}
    raw = p1(changes, exact, lambda outputs: float((outputs.argmax(1) != exact.argmax(1)).mean()))
    assert raw([Configuration({"op0": setting(2)}), BOTH]).tolist() == [0.5, 0]


def test_the_latency_fit_finds_the_share_that_is_really_saved() -> None:
    rng = np.random.default_rng(1)
    saving, changed = rng.uniform(0.5, 3, 40), rng.integers(1, 20, 40)
    truth = 10 - 0.8 * saving + 0.01 * changed
    fitted = Latency.fitted(10, saving[:8], changed[:8], truth[:8] * rng.normal(1, 0.002, 8))
    np.testing.assert_allclose(fitted(saving, changed), truth, rtol=0.01)
    assert Latency.fitted(10, [], [], []) == Latency(10)


def test_the_loss_fit_scales_and_bends_and_leaves_out_what_is_lost_anyway() -> None:
    rng = np.random.default_rng(2)
    raw = np.geomspace(1e-3, 1, 12)
    losses = np.minimum(30 * raw**1.4, 25) + rng.normal(0, 0.05, 12)
    fitted = Scale.fitted(raw, losses, np.full(12, 0.05), 5, POWERS)
    near = raw[30 * raw**1.4 < 5]
    assert np.median(np.abs(fitted(near) - 30 * near**1.4)) < 0.15
    assert Scale.fitted([], [], [], 5, POWERS) == Scale()


@pytest.mark.parametrize(("x", "y", "wanted"), [
    ([1, 2, 3, 4], [10, 20, 30, 40], 1.0), ([1, 2, 3], [3, 2, 1], -1.0), ([1, 2], [1, 2], None), ([1, 1, 1], [1, 2, 3], None),
    ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486833),
])  # fmt: skip
def test_rank_correlations_are_spearmans(x: list[float], y: list[float], wanted: float | None) -> None:
    assert rank_correlation(x, y) == (None if wanted is None else pytest.approx(wanted))


def test_trust_is_the_median_error_on_what_is_known() -> None:
    found = trust("additive", "loss", "pp", [1, 2, np.nan, 4], [1.5, 2, 3, 3], fitted=8)
    assert (found.error, found.held_out, found.fitted) == (0.5, 3, 8)
    assert trust("profile", "latency", "%", [1.1], [1.0], 8, relative=True).error == pytest.approx(10)


def test_random_codes_are_legal_varied_and_coupled() -> None:
    table = Table.of(PROFILE)
    codes = random_codes(table, 500, np.random.default_rng(3), [("op0", "op2")])
    assert (codes < [len(own) for own in table.settings]).all()
    assert (codes[:, 0] == codes[:, 2]).all()
    assert {0, 4} <= set((codes != 0).sum(axis=1).tolist())


def test_a_profile_without_operators_predicts_the_exact_network() -> None:
    table = Table.of(Profile((), 3.0, 8))
    saving, divergence, changed = table.sums(table.codes([Configuration({})]))
    assert Latency(table.exact_ms)(saving, changed).tolist() == [3.0]
    assert divergence.tolist() == [0.0]
    assert table.codes([]).shape == (0, 0)


# -- what is to be expected of measured losses


def many_measurements(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray, list[Loss], np.ndarray]:
    """Divergences, true losses, what 1000 samples say of these, and what 1000 others do."""
    rng = np.random.default_rng(seed)
    divergence = np.geomspace(0.002, 0.3, count)
    truth = 14 * divergence**1.1 * rng.lognormal(0, 0.1, count)
    error = 100 * np.sqrt((0.02 + divergence / 3) / 1000)  # of the samples, so many change sides
    losses = [
        Loss(value, 1.96 * e, value + 1.645 * np.sqrt(2) * e)
        for value, e in zip(truth + error * rng.standard_normal(count), error, strict=True)
    ]
    return divergence, truth, losses, truth + error * rng.standard_normal(count)


def test_where_everything_gained_by_luck_milder_ones_are_still_expected_to_lose_less() -> None:
    """As measured of kws_honk_tpool3: 630 clips, eight configurations, and not one that surely lost anything."""
    divergence = [0.0001, 0.0005, 0.0013, 0.0031, 0.0071, 0.0107, 0.0185, 0.0739]
    measured = [0.16, -0.32, -0.16, -0.16, 0.0, -0.16, -0.32, -1.11]
    errors = [0.22, 0.35, 0.39, 0.39, 0.69, 0.86, 0.86, 1.03]
    losses = [Loss(value, 1.96 * error, value) for value, error in zip(measured, errors, strict=True)]
    expected = Expectation.fitted(divergence, losses, 3)
    values = [expected(d, loss).value for d, loss in zip(divergence, losses, strict=True)]
    assert values[0] >= 0
    assert values == sorted(values)
    assert 0.1 < values[-1] < 1


@given(st.floats(-6, 6), st.floats(0.05, 2))
def test_what_is_left_above_zero_has_the_mean_that_sampling_finds(mean: float, error: float) -> None:
    steps = np.linspace(max(0.0, mean - 9 * error), max(0.0, mean) + 9 * error, 200_001)
    weight = np.exp(-((steps - mean) ** 2 - min(mean, 0.0) ** 2) / (2 * error**2))
    assert not_below_zero(mean, error) == pytest.approx((weight * steps).sum() / weight.sum(), rel=0.03, abs=1e-4)


def test_expected_losses_are_much_nearer_to_the_truth_than_measured_ones() -> None:
    expected_off, measured_off = [], []
    for seed in range(20):
        divergence, truth, losses, _ = many_measurements(seed)
        expected = Expectation.fitted(divergence, losses, 5)
        expected_off += [expected(d, loss).value - t for d, loss, t in zip(divergence, losses, truth, strict=True)]
        measured_off += [loss.value - t for loss, t in zip(losses, truth, strict=True)]
    assert np.std(expected_off) < 0.6 * np.std(measured_off)
    assert abs(np.mean(expected_off)) < 0.1


def test_other_samples_lose_no_more_than_the_bound_as_often_as_it_says() -> None:
    kept, narrower = [], []
    for seed in range(40):
        divergence, _, losses, others = many_measurements(seed)
        expected = Expectation.fitted(divergence, losses, 5)
        bounds = [expected(d, loss) for d, loss in zip(divergence, losses, strict=True)]
        kept += [other <= bound.upper for bound, other in zip(bounds, others, strict=True)]
        narrower += [bound.upper - bound.value < loss.upper - loss.value for bound, loss in zip(bounds, losses, strict=True)]
    assert 0.92 < np.mean(kept) < 0.985
    assert all(narrower)


def test_of_what_divergence_does_not_tell_the_measurement_counts() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 5, 40)
    losses = [Loss(value, 0.01, value + 0.01) for value in values]
    expected = Expectation.fitted(rng.uniform(0.01, 0.1, 40), losses, 5)
    assert [expected(0.05, loss).value for loss in losses] == pytest.approx(values, abs=0.01)


@pytest.mark.parametrize("divergences", [[], [0.0, 0.0]])
def test_where_nothing_can_be_told_losses_are_as_measured(divergences: list[float]) -> None:
    loss = Loss(1.5, 0.2, 1.8)
    assert Expectation.fitted(divergences, [loss] * len(divergences), 5)(0.1, loss) == loss


def test_outputs_that_are_not_finite_stay_lost() -> None:
    divergence, _, losses, _ = many_measurements(0)
    lost = Loss(np.inf, np.inf, np.inf)
    expected = Expectation.fitted([*divergence, np.nan], [*losses, lost], 5)
    assert expected(np.nan, lost) == lost
    assert expected == Expectation.fitted(divergence, losses, 5)
