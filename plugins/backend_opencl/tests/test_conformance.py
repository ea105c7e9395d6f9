"""ONNX's own cases of every operator, on every way of running."""

import numpy as np
import pytest
from mobiprox_backend_opencl.runner import OpenCLDevice
from onnx_cases import NodeCase, float32_cases

from mobiprox_core.lowering import lower
from mobiprox_core.network import Network

pytestmark = pytest.mark.opencl


@pytest.mark.parametrize("device", ["network", "gpu"], indirect=True)
@pytest.mark.parametrize("case", float32_cases(), ids=lambda case: case.name)
def test_a_network_of_one_node_gives_what_onnx_says(case: NodeCase, device: OpenCLDevice) -> None:
    network = Network.from_model(case.model, case.name)
    runner = device.load(lower(network.at_batch(network.batch or 1), device.info, {}, {}))
    outputs = runner.run(*case.inputs)
    runner.close()
    for ours, expected in zip(outputs if isinstance(outputs, tuple) else (outputs,), case.outputs, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=case.rtol, atol=case.atol)
