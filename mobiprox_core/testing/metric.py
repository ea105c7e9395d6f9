"""What every measure of quality owes: a score that is a function of means, so that any part of the data can be judged alone."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from mobiprox_core.interfaces import Metric, Options, Truth

from .contract import Contract, missing
from .offer import check_description, check_loads_lightly

SAMPLES, WIDTH = 200, 6


class MetricContract(Contract):
    """Give the fixture `metric`, and `options` to test it under others than its defaults."""

    kind = "qos"
    subject = "metric"

    @pytest.fixture
    def metric(self) -> Metric:
        missing("MetricContract", "metric", "your measure")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def truth(self, metric: Metric) -> Truth:
        return truth(metric)

    def test_it_describes_itself(self, metric: Metric, options: Options) -> None:
        check_description(metric, options)
        assert metric.unit.strip(), "the unit is empty"
        assert metric.default_max_loss > 0
        assert metric.grain >= 0

    def test_it_loads_lightly(self, metric: Metric) -> None:
        check_loads_lightly(metric)

    def test_statistics_are_a_row_for_each_sample(self, metric: Metric, options: Options, truth: Truth) -> None:
        for off in (0.0, 1.0):
            rows = metric.statistics(near(truth, off), truth, options)
            assert rows.dtype == np.float64, f"statistics are {rows.dtype}"
            assert rows.ndim == 2
            assert len(rows) == SAMPLES
            assert np.isfinite(rows).all()

    def test_a_sample_s_statistics_do_not_depend_on_the_others(self, metric: Metric, options: Options, truth: Truth) -> None:
        outputs = near(truth, 1.0)
        whole = metric.statistics(outputs, truth, options)
        half = slice(0, SAMPLES // 2)
        given = {field.name: getattr(truth, field.name) for field in fields(truth)}
        part = replace(truth, **{name: values[half] for name, values in given.items() if values is not None})
        np.testing.assert_allclose(metric.statistics(outputs[half], part, options), whole[half], rtol=1e-9)

    def test_scores_of_many_means_come_at_once(self, metric: Metric, options: Options, truth: Truth) -> None:
        rows = metric.statistics(near(truth, 1.0), truth, options)
        means = np.stack([rows.mean(axis=0), rows[:50].mean(axis=0), rows[50:].mean(axis=0)])
        together = np.asarray(metric.score(means, options))
        assert together.shape == (3,), "score maps float64[..., S] to float64[...]"
        np.testing.assert_allclose(together, [float(metric.score(mean, options)) for mean in means], rtol=1e-9)
        assert np.isfinite(together).all()

    def test_what_is_further_off_scores_worse(self, metric: Metric, options: Options, truth: Truth) -> None:
        better, worse = (score(metric, options, truth, off) for off in (0.05, 3.0))
        assert (better > worse) == metric.higher_is_better, f"{better:.4g} near the truth, {worse:.4g} far from it; higher_is_better?"
        assert better != worse

    def test_it_is_the_same_every_time_and_leaves_its_arguments_alone(self, metric: Metric, options: Options, truth: Truth) -> None:
        outputs = near(truth, 1.0)
        kept, exact = outputs.copy(), truth.exact.copy()
        first, again = (metric.statistics(outputs, truth, options) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(outputs, kept)
        np.testing.assert_array_equal(truth.exact, exact)


def truth(metric: Metric) -> Truth:
    """Exact outputs that are mostly right: scores of classes, or values."""
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(SAMPLES, WIDTH)).astype(np.float32) * 2
    if not metric.needs_labels:
        return Truth(exact)
    if metric.classifies:
        labels = exact.argmax(axis=1)
        labels[::10] = (labels[::10] + 1) % WIDTH
        return Truth(exact, labels=labels.astype(np.int64))
    return Truth(exact, targets=exact + rng.normal(size=exact.shape).astype(np.float32) * np.float32(0.1))


def near(truth: Truth, off: float) -> np.ndarray:
    """Outputs that are `off` (standard deviations) from the exact ones."""
    return (truth.exact + off * np.random.default_rng(1).normal(size=truth.exact.shape)).astype(np.float32)


def score(metric: Metric, options: Options, truth: Truth, off: float) -> float:
    return float(metric.score(metric.statistics(near(truth, off), truth, options).mean(axis=0), options))
