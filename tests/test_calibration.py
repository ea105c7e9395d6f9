"""Fitting to calibration inputs on a trained network and real data: what it is there for."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobiprox_core import plugins

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "calibration.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("calibration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["calibration"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_of_a_network_take_the_place_of_its_old_ones(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    begin, end = script.MARKS
    page.write_text(f"before\n{begin}\n{end}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", page)
    rows = script.Result("second convolution", 86.12, [script.Row("1/2", dict.fromkeys(script.COLUMNS, 1.25))])
    for exact, name in ((86.12, "kws_honk_trad"), (91.4, "cifar10_resnet20"), (85.0, "kws_honk_trad")):
        script.write({name: script.lines(name, replace(rows, exact=exact))})
    found = page.read_text(encoding="utf-8").splitlines()
    assert found[:4] == ["before", begin, *script.HEAD]
    assert found[4] == "| `kws_honk_trad` (85.0 %), second convolution | 1/2 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 |"
    assert found[5].startswith("| `cifar10_resnet20` (91.4 %)")
    assert found[6:] == [end, "after"]


@pytest.mark.data
@pytest.mark.opencl
def test_fitted_sampling_keeps_the_accuracy_that_rescaling_loses(script: Any, tmp_path: Path) -> None:
    if not (script.FOLDER / "cifar10_resnet20.onnx").exists():
        pytest.skip("no evaluation data: set MOBIPROX_DATA to its folder")
    registry = plugins.load()
    device = registry.get("backend", "opencl").open({})
    result = script.measure("cifar10_resnet20", device, registry, tmp_path, tests=250)
    device.close()
    quarter, _, half = (row.losses_pp for row in result.rows)
    assert result.exact > 85
    assert quarter["rescaled"] > 45
    assert half["rescaled"] > 60
    assert quarter["refit"] < 6
    assert quarter["chosen"] < 3
    assert half["chosen"] < half["refit"] < 20
    assert quarter["refit + affine"] < 4
    assert half["refit + affine"] < half["refit"]
