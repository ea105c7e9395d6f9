"""The tables of single precisions: what was promised of a network, and going on after an interruption."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "reduced_precision.py"))


def test_a_bar_is_kept_or_missed_by_the_ratio_to_its_own_rival(benchmark: dict[str, Any]) -> None:
    ms = {
        "ONNX Runtime FP32": 4.0,
        "ONNX Runtime INT8": 0.9,
        "exact": 3.0,
        "int8": 1.0,
        "exact on AVX2": 3.0,
        "int8, 7-bit weights on AVX2": 2.1,
    }
    lines = benchmark["speed_bars"]("vgg16_cifar10", {"ms": ms, "disturbed": {"int8": 1.05, "exact": 1.3}})
    assert [line.split(":")[0] for line in lines] == ["kept", "MISSED", "MISSED", "disturbed"]
    assert "1.43 times as fast as exact on AVX2; wanted: 1.5" in lines[2]
    assert lines[3].endswith("exact 1.30")
    assert benchmark["speed_rows"]("n", {"ms": ms})[-1] == "| `n` | int8, 7-bit weights on AVX2 | 2.100 | 1.90 | 0.43 | 1.43 |"


def test_a_loss_is_kept_up_to_its_bar(benchmark: dict[str, Any]) -> None:
    found = {"inputs": 100, "exact": 90.0, "lost": {"int8": 0.5, "bf16": 1.0, "ONNX Runtime INT8": 2.0}}
    (line,) = benchmark["accuracy_bars"]("cifar10_resnet20", found)
    assert line.startswith("kept: cifar10_resnet20, int8")
    assert benchmark["accuracy_rows"]("n", found) == ["| `n` | 100 | 90.00 % | 3.0 | 0.50 |  |  | 1.00 | 2.00 |"]


@pytest.mark.opencl
def test_what_was_measured_is_not_measured_again_unless_named(
    benchmark: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = benchmark["main"]
    measured: list[str] = []

    def accuracy(name: str) -> dict[str, Any]:
        measured.append(name)
        return {"inputs": 100, "exact": 90.0, "lost": {"int8": float(len(measured))}}

    monkeypatch.setitem(main.__globals__, "Bench", lambda name, *_: name)
    monkeypatch.setitem(main.__globals__, "accuracy", accuracy)
    monkeypatch.setitem(main.__globals__, "CASES", {"a": None, "b": None})
    given = ["accuracy", "--out", str(tmp_path), "--threads", "1"]
    assert main([*given, "b"]) == 0
    assert main(given) == 0
    assert main([*given, "a"]) == 0
    assert measured == ["b", "a", "a"]
    assert "| `a` | 100 | 90.00 % | 3.0 | 3.00 |" in capsys.readouterr().out
    other = json.loads((tmp_path / "accuracy" / "b.json").read_text(encoding="utf-8"))
    (tmp_path / "accuracy" / "b.json").write_text(json.dumps({**other, "where": "elsewhere"}), encoding="utf-8")
    assert main(given) == 0
    assert measured == ["b", "a", "a", "b"], "what another machine measured is no result of this one"
