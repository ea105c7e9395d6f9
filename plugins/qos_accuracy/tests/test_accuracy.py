"""Measures of classes, against counting by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from mobiprox_qos_accuracy.metrics import Accuracy, Agreement, MacroF1, TopK

from mobiprox_core.interfaces import Metric, Truth
from mobiprox_core.testing import MetricContract

SCORES = np.array([[3, 2, 1], [1, 3, 2], [2, 1, 3], [3, 1, 2]], dtype=np.float32)
EXACT = np.array([[3, 2, 1], [3, 1, 2], [2, 1, 3], [3, 1, 2]], dtype=np.float32)
TRUTH = Truth(EXACT, labels=np.array([0, 0, 1, 2]))


@pytest.mark.parametrize(
    ("metric", "options", "hits"),
    [
        (Accuracy(), {}, [1, 0, 0, 0]),
        (Agreement(), {}, [1, 0, 1, 1]),
        (TopK(), {"k": 2}, [1, 0, 0, 1]),
        (TopK(), {}, [1, 1, 1, 1]),
    ],
)
def test_samples_count_as_their_scores_say(metric: Accuracy, options: dict[str, int], hits: list[int]) -> None:
    rows = metric.statistics(SCORES, TRUTH, options)
    assert rows[:, 0].tolist() == hits
    assert metric.score(rows.mean(axis=0), options) == pytest.approx(25 * sum(hits))


def test_of_equal_scores_the_first_counts_as_higher_as_for_argmax() -> None:
    level = np.zeros((3, 3), np.float32)
    assert Accuracy().statistics(level, Truth(level, np.array([0, 1, 2])), {})[:, 0].tolist() == [1, 0, 0]


def test_macro_f1_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    labels, outputs = rng.integers(0, 5, 200), rng.normal(size=(200, 6)).astype(np.float32)
    outputs[np.arange(200), labels] += 1
    rows = MacroF1().statistics(outputs, Truth(outputs, labels), {})
    wanted = metrics.f1_score(labels, outputs.argmax(1), average="macro", labels=range(5), zero_division=0)
    assert MacroF1().score(rows.mean(axis=0), {}) == pytest.approx(100 * wanted)
    pairs = np.stack([rows.mean(axis=0), rows[:100].mean(axis=0)])
    assert MacroF1().score(pairs, {})[1] == pytest.approx(float(MacroF1().score(pairs[1], {})))


class TestMetricContracts(MetricContract):
    @pytest.fixture(params=[Accuracy, Agreement, TopK, MacroF1])
    def metric(self, request: pytest.FixtureRequest) -> Metric:
        return request.param()
