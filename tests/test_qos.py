"""Losses and how sure they are, against simulations and formulas."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_qos_accuracy.metrics import Accuracy, MacroF1
from mobiprox_qos_psnr.metrics import Mse, Psnr

from mobiprox_core.interfaces import Samples
from mobiprox_core.measurement import Loss
from mobiprox_core.qos import Judge, student


def samples(count: int, groups: Any = None, labels: Any = None) -> Samples:
    return Samples(np.zeros((count, 1), np.float32), labels, groups)


def judge(count: int, groups: Any = None, confidence: float = 0.95) -> Judge:
    return Judge(Accuracy(), {}, samples(count, groups), confidence)


@pytest.mark.parametrize(("probability", "freedom", "wanted"), [
    (0.975, 1, 12.706), (0.95, 2, 2.920), (0.975, 2, 4.303), (0.975, 3, 3.182), (0.95, 4, 2.132), (0.975, 30, 2.042), (0.95, inf, 1.645),
])  # fmt: skip
def test_students_quantiles_are_those_of_the_tables(probability: float, freedom: float, wanted: float) -> None:
    assert student(probability, freedom) == pytest.approx(wanted, rel=0.01)


def test_the_interval_of_an_accuracy_is_that_of_paired_proportions() -> None:
    exact, rows = np.ones((200, 1)), np.ones((200, 1))
    rows[:10], exact[10:14] = 0, 0
    loss = judge(200).loss(exact, rows)
    assert loss.value == pytest.approx(3.0)
    assert loss.ci == pytest.approx(1.96 * 100 * np.sqrt(14 - 36 / 200 + 1) / 202, rel=0.02)


def test_nothing_that_changed_still_leaves_room_for_what_was_not_seen() -> None:
    same = np.ones((50, 1))
    loss = judge(50).loss(same, same)
    assert loss.value == 0
    assert 3 < loss.upper < 6
    assert judge(5000).loss(np.ones((5000, 1)), np.ones((5000, 1))).upper < 0.1


def test_an_output_that_is_not_finite_loses_everything() -> None:
    own = Judge(Mse(), {}, samples(3))
    outputs = np.array([[1.0], [np.nan], [2.0]], np.float32)
    rows = own.statistics(outputs, np.ones((3, 1), np.float32), np.arange(3))
    assert own.loss(np.zeros((3, 2)), rows).value == inf


@pytest.mark.parametrize("users", [0, 4, 12])
def test_the_upper_bound_holds_on_other_data_as_often_as_it_says(users: int) -> None:
    """Users differ: each has an error rate of its own. Other users are drawn from the same population."""
    rng = np.random.default_rng(users)
    held = []

    def draw() -> tuple[np.ndarray, np.ndarray | None]:
        rates = rng.beta(4, 36, max(users, 1)) if users else np.array([0.1])
        groups = np.arange(400) % len(rates)
        return (rng.random(400) > rates[groups])[:, None].astype(float), groups.astype(str) if users else None

    for _ in range(400):
        (rows, groups), (others, _) = draw(), draw()
        held.append(100 * (1 - others.mean()) <= judge(400, groups).loss(np.ones((400, 1)), rows).upper)
    assert 0.9 <= np.mean(held) <= 1


def test_the_jackknife_of_a_score_that_is_no_mean_agrees_with_resampling() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(4, 300, p=[0.4, 0.3, 0.2, 0.1])
    exact, worse = rng.normal(size=(2, 300, 4)).astype(np.float32)
    exact[np.arange(300), labels] += 3
    worse[np.arange(300), labels] += 2
    own = Judge(MacroF1(), {}, samples(300, labels=labels))
    first, second = (own.statistics(outputs, exact, np.arange(300)) for outputs in (exact, worse))
    drawn = rng.integers(0, 300, (500, 300))
    losses = [own.score(first[index]) - own.score(second[index]) for index in drawn]
    assert own.loss(first, second).ci == pytest.approx(1.96 * np.std(losses), rel=0.15)


def test_of_measures_where_less_is_better_more_is_a_loss() -> None:
    exact, rows = np.array([[0.0, 1.0]] * 9), np.array([[0.5, 1.0]] * 9)
    assert Judge(Mse(), {}, samples(9)).loss(exact, rows).value == pytest.approx(0.5)
    assert Judge(Psnr(), {}, samples(9)).loss(exact, rows).value == pytest.approx(60 - 10 * np.log10(2))


def test_classes_and_groups_are_looked_at_alone() -> None:
    labels, groups = np.repeat([0, 1], 50), np.tile(["ann", "bob"], 50)
    exact, rows = np.ones((100, 1)), np.ones((100, 1))
    rows[(labels == 1) & (groups == "bob")] = 0
    own = Judge(Accuracy(), {}, Samples(np.zeros((100, 1), np.float32), labels, groups, classes=("sit", "walk")))
    assert {part.name: part.loss for part in own.parts(exact, rows)} == {"class sit": 0, "class walk": 50, "group ann": 0, "group bob": 50}


@given(
    value=st.floats(-10, 10),
    error=st.floats(0.001, 5),
    margin=st.floats(0, 10),
    towards=st.floats(-10, 10),
    other=st.floats(0, 5),
)
def test_two_sources_are_weighed_by_their_variance(value: float, error: float, margin: float, towards: float, other: float) -> None:
    drawn = Loss(value, 1.96 * error, value + margin).drawn(towards, other)
    weights = np.array([1 / error**2, 1 / max(other, 1e-9) ** 2])
    assert drawn.value == pytest.approx(np.average([value, towards], weights=weights), abs=1e-6)
    assert drawn.error == pytest.approx(weights.sum() ** -0.5, abs=1e-6)
    assert drawn.upper - drawn.value <= margin + 1e-9
