"""Label and confidence computed in the plan, against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mobiprox_backend_opencl.runner import OpenCLDevice

from mobiprox_core.adaptation import probabilities
from mobiprox_core.configuration import Configuration
from mobiprox_core.graph import Graph, Operator, TensorSpec
from mobiprox_core.labelling import with_labels
from mobiprox_core.lowering import lower
from mobiprox_core.testing import graphs

pytestmark = pytest.mark.opencl

TEMPERATURES = (1.7, 0.3, 1.0, 1.7)


def passing(shape: tuple[int, ...]) -> Graph:
    """A network that returns its input, through an operator that copies it."""
    tensors = {name: TensorSpec(name, shape) for name in ("x", "y")}
    copy = Operator("copy", "activation", ("x",), "y", activation=None)
    return Graph("passing", shape[0], (tensors["x"],), (tensors["y"],), (copy,), tensors)


@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (3, 40), (1, 5, 2, 3), (2, 19, 3, 1), (1, 1000)], ids=str)
@pytest.mark.parametrize("already_softmax", [False, True])
def test_label_confidence_and_scores_are_those_of_numpy(shape: tuple[int, ...], already_softmax: bool, device: OpenCLDevice) -> None:
    rng = np.random.default_rng(len(shape))
    plan = lower(passing(shape), device.info, {}, {}, [Configuration({})] * len(TEMPERATURES))
    runner = device.load(with_labels(plan, TEMPERATURES, already_softmax))
    scores = 5 * rng.standard_normal((4, *shape)).astype(np.float32)
    scores[1] = np.round(scores[1] / 4)  # ties
    if already_softmax:
        scores = np.stack([probabilities(x.reshape(len(x), -1)).reshape(shape) for x in scores]).astype(np.float32)
    for level in (1, 0, 3, 2):
        runner.set_level(level)
        for x in scores:
            answer = runner.labelled(x)
            flat = x.reshape(len(x), -1)
            wanted = probabilities(flat, already_softmax, TEMPERATURES[level])
            np.testing.assert_array_equal(answer[:, 0], flat.argmax(axis=1))
            np.testing.assert_allclose(answer[:, 1], wanted[np.arange(len(x)), flat.argmax(axis=1)], rtol=1e-5)
            np.testing.assert_array_equal(answer[:, 2:], flat)
            np.testing.assert_array_equal(runner.run(x), x)
    runner.close()


@pytest.mark.parametrize(
    ("scores", "label"),
    [
        ([1.0, np.nan, 9.0, np.nan], 1),
        ([np.nan, 1.0, 2.0], 0),
        ([-np.inf, 3.0, -np.inf], 1),
        ([np.inf, 3.0, np.inf], 0),
        ([-3e38, 3e38, 0.0], 1),
    ],
    ids=str,
)
def test_scores_that_are_no_numbers_mean_what_they_mean_to_numpy(scores: list[float], label: int, cpu: OpenCLDevice) -> None:
    x = np.array([scores], dtype=np.float32)
    runner = cpu.load(with_labels(lower(passing(x.shape), cpu.info, {}, {}), [1.0]))
    answer = runner.labelled(x)[0]
    assert answer[0] == label == x.argmax()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(answer[1], probabilities(x)[0, label], rtol=1e-6)
    np.testing.assert_array_equal(answer[2:], x[0])


def test_every_way_of_running_labels_a_network_alike(device: OpenCLDevice, cpu: OpenCLDevice) -> None:
    graph = graphs.dense(features=45, outputs=19)
    (x,) = graphs.inputs(graph)
    own, other = (d.load(with_labels(lower(graph, d.info, {}, {}), [2.0])).labelled(x) for d in (device, cpu))
    np.testing.assert_allclose(own, other, rtol=1e-4)
    assert own[0, 0] == other[0, 0]


def test_levels_of_one_temperature_share_a_variant_and_outputs_stay_as_they_are(cpu: OpenCLDevice) -> None:
    graph = graphs.dense(features=45, outputs=19)
    plain = lower(graph, cpu.info, {}, {}, [Configuration({})] * 3)
    plan = with_labels(plain, (2.0, 1.0, 2.0))
    assert len(plan.operators[-1].variants) == 2
    assert plan.levels[0] == plan.levels[2] != plan.levels[1]
    assert not any(plan.levels[0])
    assert sum(plan.notes["memory_bytes"].values()) == 4 * plan.arena_elements
    (x,) = graphs.inputs(graph)
    np.testing.assert_array_equal(cpu.load(plan).run(x), cpu.load(plain).run(x))
    assert replace(plan, labelled=None).outputs == plain.outputs
