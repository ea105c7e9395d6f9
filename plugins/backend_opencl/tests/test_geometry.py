"""Convolutions of random geometry against the NumPy reference, on every way of running."""

import numpy as np
import pytest
from mobiprox_backend_opencl.runner import OpenCLDevice

from mobiprox_core import reference
from mobiprox_core.graph import Activation
from mobiprox_core.lowering import lower
from mobiprox_core.testing import graphs

pytestmark = pytest.mark.opencl


@pytest.mark.parametrize("seed", range(60))
def test_a_convolution_of_any_geometry_is_the_reference(seed: int, device: OpenCLDevice) -> None:
    rng = np.random.default_rng(seed)

    def pick(*values: int) -> int:
        return int(rng.choice(values))

    depthwise = seed % 2 == 0
    channels = pick(1, 3, 16, 19, 40)
    kernel = (3, 3) if rng.random() < 0.6 else (pick(1, 2, 5), pick(1, 3, 4))
    strides = (pick(1, 2), pick(1, 1, 2, 3))
    dilations = (1, 1) if rng.random() < 0.7 else (pick(1, 2), pick(1, 2))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = (max(reach[0], pick(3, 7, 10)), max(reach[1], pick(3, 4, 5, 8, 13)))
    graph = graphs.convolution(
        batch=pick(1, 2),
        channels=channels,
        filters=channels if depthwise else pick(1, 10, 32, 45),
        size=size,
        kernel=kernel,
        strides=strides,
        pads=(pick(0, 1), pick(0, 1, 2), pick(0, 1), pick(0, 1)),
        dilations=dilations,
        group=channels if depthwise else 1,
        activation=(None, Activation("relu"), Activation("tanh"))[seed % 3],
        residual=rng.random() < 0.4,
    )
    inputs = graphs.inputs(graph, seed)
    (expected,) = reference.run(graph, inputs)
    runner = device.load(lower(graph, device.info, {}, {}))
    np.testing.assert_allclose(runner.run(*inputs), expected, rtol=1e-4, atol=1e-4)
    runner.close()
