"""The table of all techniques beside other engines: which engine and which of our levels are put beside each other."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

RESULT: dict[str, Any] = {
    "exact_ms": {"exact": 0.8, "onnxruntime": 0.6, "openvino": 0.7},
    "quantised": {
        "onnxruntime-int8": {"ms": 0.3, "loss_pp": 0.2, "most_pp": 0.25},
        "openvino-int8": {"ms": 0.4, "loss_pp": 0.05, "most_pp": 0.1},
    },
    "levels": [
        {"most_pp": 1.0, "ms": 0.1, "loss_pp": 0.9, "settings": "a: int8"},
        {"most_pp": 0.25, "ms": 0.15, "loss_pp": 0.2, "settings": "b: int8"},
        {"most_pp": 0.1, "ms": 0.2, "loss_pp": 0.1, "settings": "c: int8"},
        {"most_pp": 0.0, "ms": 0.25, "loss_pp": 0.0, "settings": "d: int8"},
    ],
}


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "rivals.py"))


def test_the_best_exact_engine_and_the_fastest_8_bit_one_are_what_is_to_be_beaten(rivals: dict[str, Any]) -> None:
    found = rivals["beside"](RESULT)
    assert found["exact"] == ("onnxruntime", 0.6)
    assert found["speedup"] == pytest.approx(6)
    assert found["quantised"] == ("onnxruntime-int8", 0.3, 0.2)
    assert found["safe"]["loss_pp"] == 0.2
    assert found["over quantised"] == pytest.approx(2)


def test_ours_may_be_the_best_exact_engine(rivals: dict[str, Any]) -> None:
    found = rivals["beside"]({**RESULT, "exact_ms": {"exact": 0.5, "onnxruntime": 0.6}})
    assert found["exact"] == ("Mobiprox", 0.5)


def test_a_network_on_which_every_8_bit_engine_is_too_far_off_stands_in_the_table_without_one(rivals: dict[str, Any]) -> None:
    results = {"a": RESULT, "b": {**RESULT, "quantised": {}, "exact_ms": {"exact": 0.3}}}
    text = rivals["table"](results)
    assert "| `b` | Mobiprox | 0.3 | 0.1 | 0.9 | 3.00x | too far off |" in text
    assert "| *geometric mean* | | | | | *4.24x* | | | | | | *2.00x* |" in text
    first, second = rivals["verdicts"](results)
    assert "of 2 networks" in first
    assert "of 1 networks" in second


@pytest.mark.parametrize(("loss", "error", "most"), [(16.4, 1.5, 1.0), (0.25, 0.125, 0.375), (-0.2, 0.1, 0.0), (-0.05, 0.15, 0.1)])
def test_beside_an_8_bit_engine_no_more_is_lost_than_it_loses_by_what_the_data_tell_and_at_most_a_point(
    loss: float, error: float, most: float, rivals: dict[str, Any]
) -> None:
    assert rivals["limit"](loss, error) == pytest.approx(most)


def test_a_level_that_approximates_nothing_is_the_exact_network(rivals: dict[str, Any]) -> None:
    assert rivals["settings"]({"settings": {}}) == "exact"
    assert rivals["settings"]({"settings": {"a": "int8", "b": "bf16"}}) == "a: int8; b: bf16"


def test_below_the_table_stands_which_bars_are_kept_and_by_whom_not(rivals: dict[str, Any]) -> None:
    slower = {**RESULT, "exact_ms": {"onnxruntime": 0.15}}
    kept, other = rivals["verdicts"]({"first": RESULT, "second": slower})
    assert "3.00x in the geometric mean of 2 networks; wanted: 2.50x (kept). Below that by themselves: `second` (1.50x)." in kept
    assert other.endswith("Below that by themselves: none.")
    missed, _ = rivals["verdicts"]({"second": slower})
    assert "MISSED" in missed


def test_the_table_ends_with_geometric_means(rivals: dict[str, Any]) -> None:
    slower = {**RESULT, "exact_ms": {"onnxruntime": 0.15}}
    *_, last = rivals["table"]({"first": RESULT, "second": slower}).splitlines()
    assert "*3.00x*" in last
    assert "*2.00x*" in last
