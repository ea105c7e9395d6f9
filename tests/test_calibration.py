"""Fitting to calibration inputs on a trained network and real data: what it is there for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from mobiprox_core import plugins

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "calibration.py"


@pytest.mark.data
@pytest.mark.opencl
def test_fitted_sampling_keeps_the_accuracy_that_rescaling_loses(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("calibration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = sys.modules["calibration"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
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
