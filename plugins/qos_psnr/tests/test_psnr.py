"""Distances of outputs, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from mobiprox_qos_psnr.metrics import Mse, Psnr

from mobiprox_core.interfaces import Metric, Truth
from mobiprox_core.testing import MetricContract

EXACT = np.array([[0.0, 1.0], [-1.0, 0.5]], np.float32)
NEAR = EXACT + np.float32(0.1)


def score(metric: Mse | Psnr, outputs: np.ndarray, truth: Truth, **options: float) -> float:
    return float(metric.score(metric.statistics(outputs, truth, options).mean(axis=0), options))


def test_without_targets_the_exact_outputs_are_what_is_wanted() -> None:
    assert score(Mse(), NEAR, Truth(EXACT)) == pytest.approx(0.01)
    assert score(Psnr(), NEAR, Truth(EXACT)) == pytest.approx(20)


def test_targets_come_before_the_exact_outputs() -> None:
    truth = Truth(EXACT, targets=EXACT + np.float32(0.1))
    assert score(Mse(), NEAR, truth) == pytest.approx(0, abs=1e-12)
    assert score(Psnr(), EXACT, truth, peak=10) == pytest.approx(40)


@pytest.mark.parametrize("ceiling", [60, 45])
def test_a_perfect_output_has_as_many_decibels_as_the_ceiling(ceiling: float) -> None:
    assert score(Psnr(), EXACT, Truth(EXACT), ceiling=ceiling) == pytest.approx(ceiling)
    assert score(Psnr(), EXACT + np.float32(1e-5), Truth(EXACT), ceiling=ceiling) == pytest.approx(ceiling)


def test_an_output_that_is_zero_everywhere_is_no_division_by_zero() -> None:
    nothing = np.zeros((2, 2), np.float32)
    assert np.isfinite(score(Psnr(), nothing, Truth(nothing)))


class TestMetricContracts(MetricContract):
    @pytest.fixture(params=[Psnr, Mse])
    def metric(self, request: pytest.FixtureRequest) -> Metric:
        return request.param()
