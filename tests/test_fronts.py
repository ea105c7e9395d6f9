"""The tables of benchmarks/fronts.py: whether one front lies on or above another."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def level(speedup: float, loss: float, ci: float = 0.5) -> dict[str, float]:
    return {"speedup": speedup, "latency_ms": 1 / speedup, "test_qos_loss": loss, "test_qos_loss_ci": ci}


EXACT = level(1, 0, 0)


@pytest.fixture
def fronts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "fronts.py"))


def test_the_best_level_that_is_as_fast_counts(fronts: dict[str, Any]) -> None:
    front = [EXACT, level(2, 1), level(3, 0.5), level(4, 3)]
    assert fronts["short_of"](level(1.5, 2), front) == pytest.approx(-1.5)
    assert fronts["short_of"](level(3.02, 0.25), front) == pytest.approx(0.25), "3 is as fast as 3.02"
    assert fronts["short_of"](level(3.5, 1), front) == pytest.approx(2)
    assert fronts["short_of"](level(5, 10), front) == float("inf")


def test_a_front_counts_as_above_where_no_level_is_missed_by_more_than_its_interval(fronts: dict[str, Any]) -> None:
    calibrated = [EXACT, level(2, 1), level(4, 3)]
    others = {
        "above": [EXACT, level(1.5, 1), level(3, 8)],
        "nearly": [EXACT, level(1.5, 0.75), level(3, 8)],
        "below": [EXACT, level(1.5, 0.25), level(3, 8)],
        "slower": [EXACT, level(5, 20)],
        "nothing": [EXACT],
    }
    found = fronts["above"]({name: {"calibrated": {"levels": calibrated}, "off": {"levels": own}} for name, own in others.items()})
    assert "| `above` | 2 | 2 |  |  |" in found
    assert "| `nearly` | 2 | 1 | 0.2 | 0.5 |" in found
    assert "| `below` | 2 | 1 | 0.8 | 0.5 |" in found
    assert "| `slower` | 1 | 0 | inf | 0.5 |" in found
    assert "| `nothing` | 0 | 0 |  |  |" in found
    assert "on 3 of 5 networks" in found
