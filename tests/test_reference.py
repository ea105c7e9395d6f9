"""The NumPy meaning of operators, exact and approximated."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mobiprox_core import reference
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.errors import UsageError
from mobiprox_core.graph import Graph
from mobiprox_core.interfaces import Approximation
from mobiprox_core.network import Network


def model(nodes: list[onnx.NodeProto], shape: tuple[int, ...], constants: Mapping[str, Any]) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in (("x", ["n", *shape]), ("y", None)))
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def graph_of(proto: onnx.ModelProto, batch: int = 2) -> Graph:
    return Network.from_model(ir.from_proto(proto), "test").at_batch(batch)


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agrees(proto: onnx.ModelProto) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # no warning that ONNX inferred another shape for ceil_mode
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        graph = graph_of(proto)
        x = rand(*graph.inputs[0].shape)
        (theirs,) = session.run(None, {"x": x})
    except Exception as fault:  # a combination of attributes that ONNX Runtime does not take
        assume(not type(fault).__module__.startswith("onnxruntime"))
        raise
    (ours,) = reference.run(graph, [x])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(7, 10), st.integers(7, 9)),
    kernel=PAIR,
    strides=PAIR,
    dilations=PAIR,
    pads=st.tuples(*[st.integers(0, 2)] * 4),
)
@pytest.mark.parametrize("group", [1, 2, 4])
def test_convolutions_of_every_geometry(size: Any, kernel: Any, strides: Any, dilations: Any, pads: Any, group: int) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=strides, dilations=dilations, pads=pads, group=group)
    agrees(model([node], (4, *size), {"w": rand(8, 4 // group, *kernel), "b": rand(8)}))


@settings(max_examples=120, deadline=None)
@given(
    size=st.tuples(st.integers(7, 10), st.integers(7, 9)),
    kernel=st.tuples(st.integers(2, 3), st.integers(1, 3)),
    strides=PAIR,
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    ceil=st.integers(0, 1),
    count=st.integers(0, 1),
)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools_of_every_geometry(kind: str, size: Any, kernel: Any, strides: Any, pads: Any, ceil: int, count: int) -> None:
    assume(all(pad < k for pad, k in zip(pads, kernel * 2, strict=True)))
    more = {"count_include_pad": count} if kind == "AveragePool" else {}
    agrees(
        model(
            [helper.make_node(kind, ["x"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=ceil, **more)], (3, *size), {}
        )
    )


# -------------------------------------------------------------------------------------------------------------------- approximated


def technique(**functions: Any) -> Any:
    """Stands for a technique whose meaning is these functions."""
    return SimpleNamespace(
        prepare=lambda setting, operator, statistics: {}, reference=lambda setting, operator, graph, fitted: Approximation(**functions)
    )


@pytest.fixture
def graph() -> Graph:
    """relu(conv(x) + x), then a pool."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        helper.make_node("Add", ["c", "x"], ["s"], name="add"),
        helper.make_node("Relu", ["s"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["y"], name="pool", kernel_shape=[2, 2]),
    ]
    return graph_of(model(nodes, (3, 4, 4), {"w": rand(3, 3, 1, 1), "b": rand(3)}))


def test_each_function_of_an_approximation_has_its_place(graph: Graph) -> None:
    conv, x = graph["conv"], rand(2, 3, 4, 4)
    weight, bias = conv.constants["weight"][:, :, 0, 0], conv.constants["bias"][:, None, None]

    def exact(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.einsum("oc,nchw->nohw", weight, x) + bias

    expected = {
        "input": np.maximum(exact(x + 1, weight) + x, 0),
        "weight": np.maximum(exact(x, weight + 1) + x, 0),
        "bias": np.maximum(exact(x, weight) + 1 + x, 0),
        "output": np.maximum(exact(x, weight) + 1 + x, 0),
        "finish": np.maximum(exact(x, weight) + x, 0) + 1,
    }
    for function, result in expected.items():
        y = reference.run_operator(graph, conv, {"x": x}, Setting.of("t"), {"t": technique(**{function: lambda v: v + np.float32(1)})})
        np.testing.assert_allclose(y, result, rtol=1e-4, atol=1e-5)


def test_parts_of_a_setting_work_in_the_order_of_its_spelling(graph: Graph) -> None:
    techniques = {"a": technique(finish=lambda y: y + np.float32(1)), "b": technique(finish=lambda y: y * np.float32(10))}
    x = rand(2, 3, 4, 4)
    setting = Setting.of("b") + Setting.of("a")
    assert str(setting) == "a + b"
    y = reference.run_operator(graph, graph["conv"], {"x": x}, setting, techniques)
    np.testing.assert_allclose(y, (reference.run_operator(graph, graph["conv"], {"x": x}) + 1) * 10, rtol=1e-6)


def test_input_and_finish_also_serve_operators_without_weights(graph: Graph) -> None:
    half = technique(input=lambda x: x + np.float32(2), finish=lambda y: y * np.float32(3))
    x = rand(2, 3, 4, 4)
    (exact,), (approximated,) = reference.run(graph, [x]), reference.run(graph, [x], Configuration({"pool": Setting.of("t")}), {"t": half})
    np.testing.assert_allclose(approximated, (exact + 2) * 3, rtol=1e-6)


def test_the_output_of_a_one_dimensional_convolution_is_shown_as_one_row() -> None:
    shapes = []

    def look(y: np.ndarray) -> np.ndarray:
        shapes.append(y.shape)
        return y

    graph = graph_of(model([helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], (4, 9), {"w": rand(6, 4, 3)}))
    y = reference.run_operator(graph, graph["conv"], {"x": rand(2, 4, 9)}, Setting.of("t"), {"t": technique(output=look)})
    assert shapes == [(2, 6, 1, 7)]
    assert y.shape == (2, 6, 7)


def test_an_exact_configuration_is_the_network(graph: Graph) -> None:
    x = rand(2, 3, 4, 4)
    tensors = reference.activations(graph, [x])
    assert set(tensors) == set(graph.tensors)
    assert all(tensors[name].shape == spec.shape for name, spec in graph.tensors.items())
    np.testing.assert_array_equal(tensors["y"], reference.run(graph, [x])[0])


def test_inputs_of_the_wrong_shape_are_told(graph: Graph) -> None:
    with pytest.raises(UsageError, match=r"takes inputs of shapes \[\(2, 3, 4, 4\)\], not \[\(1, 3, 4, 4\)\]"):
        reference.run(graph, [rand(1, 3, 4, 4)])
