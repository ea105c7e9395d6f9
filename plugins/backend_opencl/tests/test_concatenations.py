"""Concatenations along channels: written part by part where they belong, or put together where that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from mobiprox_backend_opencl.runner import OpenCLDevice

from mobiprox_core import reference
from mobiprox_core.graph import Graph, Operator, TensorSpec
from mobiprox_core.lowering import lower
from mobiprox_core.testing import graphs

pytestmark = pytest.mark.opencl


class Drawn:
    """A graph, operator by operator. Each method takes names of tensors and gives that of its result."""

    def __init__(self, batch: int, channels: int = 3, size: tuple[int, int] = (6, 7)) -> None:
        self.batch, self.size = batch, size
        self.tensors = {"x": TensorSpec("x", (batch, channels, *size))}
        self.operators: list[Operator] = []

    def add(self, operator: Operator, channels: int) -> str:
        self.operators.append(operator)
        self.tensors[operator.output] = TensorSpec(operator.output, (self.batch, channels, *self.size))
        return operator.output

    def conv(self, source: str, filters: int, kernel: int = 3, residual: str | None = None) -> str:
        name = f"conv{len(self.operators)}"
        (_, before, *_), pads = self.tensors[source].shape, (kernel // 2,) * 4
        made = graphs.convolution(
            channels=before, filters=filters, size=self.size, kernel=(kernel, kernel), pads=pads, activation=graphs.TANH
        )
        return self.add(replace(made["op"], name=name, inputs=(source, "weight", "bias"), output=name, residual=residual), filters)

    def pool(self, source: str) -> str:
        name = f"pool{len(self.operators)}"
        attributes = {
            "op": "average",
            "kernel": (3, 3),
            "strides": (1, 1),
            "pads": (1, 1, 1, 1),
            "dilations": (1, 1),
            "count_include_pad": False,
        }
        return self.add(Operator(name, "pool", (source,), name, attributes), self.tensors[source].shape[1])

    def sum(self, first: str, second: str) -> str:
        name = f"sum{len(self.operators)}"
        return self.add(Operator(name, "binary", (first, second), name, {"op": "add"}), self.tensors[first].shape[1])

    def join(self, *names: str) -> str:
        name = f"join{len(self.operators)}"
        return self.add(Operator(name, "view", names, name, {"op": "concat", "axis": 1}), sum(self.tensors[n].shape[1] for n in names))

    def graph(self, *outputs: str) -> Graph:
        return Graph(
            "drawn", self.batch, (self.tensors["x"],), tuple(self.tensors[o] for o in outputs), tuple(self.operators), self.tensors
        )


def inception(net: Drawn) -> str:
    a = net.conv("x", 16)
    return net.conv(net.join(net.conv(a, 32, 1), net.conv(a, 16, 5), net.pool(a), net.conv(a, 5, 1)), 16)


def every_layer_before(net: Drawn) -> str:
    """As in a DenseNet."""
    layers = [net.conv("x", 16)]
    for _ in range(3):
        layers.append(net.conv(net.join(*layers) if len(layers) > 1 else layers[0], 16))
    return net.conv(net.join(*layers), 16)


def one_in_another(net: Drawn) -> str:
    a, b = net.conv("x", 16), net.conv("x", 32, 1)
    inner = net.join(a, b)
    return net.conv(net.join(inner, net.conv(inner, 19)), 16, 1)


def read_by_others(net: Drawn) -> str:
    """Parts are added, pooled and read by themselves, a part is a sum, and so is the whole."""
    a, b = net.conv("x", 16), net.conv("x", 16)
    c = net.conv(a, 16, 3, residual=b)
    whole = net.join(a, net.sum(c, b), net.pool(c))
    return net.conv(net.sum(whole, net.join(b, c, a)), 16, 3, residual=net.conv(c, 16, 5))


def the_last(net: Drawn) -> str:
    return net.join(net.conv("x", 16), net.conv("x", 7))


def odd_channels(net: Drawn) -> str:
    a = net.conv("x", 16)
    return net.conv(net.join(net.conv(a, 5), net.join(net.conv(a, 3), a), net.conv(a, 32)), 16)


def twice(net: Drawn) -> str:
    a = net.conv("x", 16)
    return net.conv(net.join(a, a), 16)


def the_input(net: Drawn) -> str:
    return net.conv(net.join(net.conv("x", 16), "x"), 16)


WRITTEN_IN_PLACE = (inception, every_layer_before, one_in_another, the_last)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("draw", [*WRITTEN_IN_PLACE, read_by_others, odd_channels, twice, the_input])
def test_it_is_what_the_reference_says(draw: Callable[[Drawn], str], batch: int, device: OpenCLDevice) -> None:
    net = Drawn(batch)
    graph = net.graph(draw(net))
    plan = lower(graph, device.info, {}, {})
    runner = device.load(plan)
    (x,) = graphs.inputs(graph)
    for _ in range(2):  # the second time over what the first one left behind
        np.testing.assert_allclose(runner.run(x), reference.run(graph, [x])[0], atol=1e-5)
    runner.close()
    copies = [launch.function for o in plan.operators for v in o.variants for launch in v.launches if launch.function == "gather"]
    assert (copies == []) == (draw in WRITTEN_IN_PLACE)


@pytest.mark.parametrize("draw", [inception, every_layer_before, read_by_others])
def test_parts_can_be_read_and_resumed_from(draw: Callable[[Drawn], str], cpu: OpenCLDevice) -> None:
    net = Drawn(2)
    graph = net.graph(draw(net))
    runner = cpu.load(lower(graph, cpu.info, {}, {}, keep_activations=True))
    (x,) = graphs.inputs(graph)
    whole = runner.run(x)
    expected = reference.activations(graph, [x])
    for slot in runner.plan.tensors:
        np.testing.assert_allclose(runner.tensor(slot.name), expected[slot.name], atol=1e-5)
    for operator in reversed(range(len(runner.plan.operators))):
        np.testing.assert_array_equal(runner.resume(operator), whole)
    runner.close()
