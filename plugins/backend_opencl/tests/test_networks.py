"""Trained networks against ONNX Runtime."""

import os
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from mobiprox_backend_opencl.runner import OpenCLDevice

from mobiprox_core.lowering import lower
from mobiprox_core.network import Network

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("MOBIPROX_DATA", ROOT.parent / "shared" / "data"))
NETWORKS = [ROOT / "examples" / "digits" / "digits.onnx", *sorted(DATA.glob("*.onnx"))]

pytestmark = pytest.mark.opencl


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_trained_network_agrees_with_onnx_runtime(path: Path, batch: int, cpu: OpenCLDevice) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (spec,) = session.get_inputs()
    x = np.random.default_rng(batch).standard_normal((batch, *spec.shape[1:])).astype(np.float32)
    (expected,) = session.run(None, {spec.name: x})
    runner = cpu.load(lower(Network.from_model(onnx_ir.load(path), path.stem).at_batch(batch), cpu.info, {}, {}))
    assert np.abs(runner.run(x) - expected).max() <= 1e-4 * np.abs(expected).max()
    runner.close()


def test_the_data_folder_is_there() -> None:
    if len(NETWORKS) == 1:
        pytest.skip("no evaluation data: set MOBIPROX_DATA to its folder")
    assert all(path.exists() for path in NETWORKS)
