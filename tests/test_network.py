"""Models in, operators out: what is folded, what is fused, what is refused, and that none of it changes the result."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mobiprox_core import reference
from mobiprox_core.errors import LoweringError, UnsupportedOperator
from mobiprox_core.graph import Graph
from mobiprox_core.network import Network

DATA = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[2] / "shared" / "data"))
NETWORKS = sorted(DATA.glob("*.onnx"))
IMAGE = ["n", 4, 6, 5]


def node(kind: str, inputs: str, output: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """inputs: names with blanks between, ``_`` for one left out. The node is called as its output, in capitals."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(kind, names, output.split(), name=output.split()[0].upper(), domain=domain, **attributes)


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str] = IMAGE,
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    output: str = "y",
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from `x` to `y`."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    x = helper.make_tensor_value_info("x", kind, list(shape))
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.mobiprox", 1)]
    return helper.make_model(helper.make_graph(nodes, "test", [x], [y], initializers), opset_imports=opsets, ir_version=8)


def network(*args: Any, **kwargs: Any) -> Network:
    return Network.from_model(ir.from_proto(onnx_model(*args, **kwargs)), "test")


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same_as_onnx(proto: onnx.ModelProto, batch: int = 3, runtime: bool = False) -> Graph:
    """Run a model both ways; give the graph. runtime: compare with ONNX Runtime where ONNX's own reference is wrong."""
    graph = Network.from_model(ir.from_proto(proto), "test").at_batch(batch)
    x = rand(*graph.inputs[0].shape, seed=1)
    other: Any = ReferenceEvaluator(proto)
    if runtime:
        other = pytest.importorskip("onnxruntime").InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (ours,), (theirs,) = reference.run(graph, [x]), other.run(None, {"x": x})
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    return graph


CONV = {"w": rand(6, 4, 3, 3), "b": rand(6, seed=2)}
SAME = {"pads": [1, 1, 1, 1]}


# -------------------------------------------------------------------------------------------------------- the evaluation networks

data = pytest.mark.skipif(not NETWORKS, reason=f"no networks in {DATA}; set MOBIPROX_DATA")


@data
@pytest.mark.data
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_trained_networks_agree_with_onnx_runtime(path: Path) -> None:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    trained = Network.from_model(ir.load(path), path.stem)
    assert trained.batch is None
    for batch in (1, 3):
        graph = trained.at_batch(batch)
        x = rand(*graph.inputs[0].shape, seed=batch)
        (ours,), (theirs,) = reference.run(graph, [x]), session.run(None, {graph.inputs[0].name: x})
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def trained(name: str) -> Graph:
    return Network.from_model(ir.load(DATA / f"{name}.onnx"), name).at_batch(2)


@data
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kinds", "residuals"),
    [
        ("cifar10_resnet20", {"conv": 19, "view": 7, "pool": 1, "dense": 1}, 9),
        ("cifar10_resnet56", {"conv": 55, "view": 7, "pool": 1, "dense": 1}, 27),
        ("imagenet_mobilenet_v2_int8w", {"conv": 53, "pool": 1, "view": 1}, 10),
        ("kws_honk_res8", {"conv": 7, "pool": 2, "view": 1, "affine": 6, "binary": 3, "dense": 1}, 0),
        ("mobilenet_uci-har", {"conv": 27, "pool": 1, "view": 1, "dense": 1}, 0),
        ("alexnet2_cifar10", {"conv": 6, "pool": 3, "view": 1, "dense": 1}, 0),
        ("vgg16_cifar10", {"conv": 13, "pool": 5, "view": 1, "dense": 2}, 0),
    ],
)
def test_trained_networks_have_no_more_operators_than_they_need(name: str, kinds: dict[str, int], residuals: int) -> None:
    graph = trained(name)
    assert Counter(op.kind for op in graph.operators) == kinds
    assert sum(op.residual is not None for op in graph.operators) == residuals


@data
@pytest.mark.data
def test_integer_weights_become_float_weights() -> None:
    path = DATA / "imagenet_mobilenet_v2_int8w.onnx"
    model = onnx.load(path)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scaled = {n.output[0]: arrays[n.input[0]] * arrays[n.input[1]][:, None, None, None] for n in model.graph.node if n.op_type[0] == "D"}
    first = next(n for n in model.graph.node if n.op_type == "Conv")
    np.testing.assert_allclose(trained(path.stem).operators[0].constants["weight"], scaled[first.input[1]], rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------------------- fusion


def test_convolution_normalisation_residual_and_activation_are_one_operator() -> None:
    nodes = [
        node("Conv", "x w b", "c", **SAME),
        node("BatchNormalization", "c gamma beta mean var", "m"),
        node("Add", "x m", "s"),
        node("Relu", "s", "y"),
    ]
    constants = {"w": rand(4, 4, 3, 3), "b": rand(4), "gamma": rand(4), "beta": rand(4), "mean": rand(4), "var": rand(4) ** 2}
    (operator,) = same_as_onnx(onnx_model(nodes, constants=constants)).operators
    assert (operator.name, operator.residual, operator.output) == ("C", "x", "y")
    assert operator.activation is not None
    assert operator.activation.kind == "relu"
    assert operator.nodes == ("C", "M", "S", "Y")


def test_the_later_of_two_convolutions_takes_the_sum() -> None:
    nodes = [node("Conv", "x w b", "a", **SAME), node("Conv", "x v b", "c", **SAME), node("Add", "c a", "y")]
    graph = same_as_onnx(onnx_model(nodes, constants={**CONV, "v": rand(6, 4, 3, 3, seed=5)}))
    assert [(op.name, op.residual) for op in graph.operators] == [("A", None), ("C", "a")]


def test_a_convolution_takes_a_sum_with_what_comes_after_it() -> None:
    nodes = [node("Conv", "x w b", "a", **SAME), node("Concat", "x half", "p", axis=1), node("Add", "a p", "y")]
    graph = same_as_onnx(onnx_model(nodes, shape=[1, 4, 6, 5], constants={**CONV, "half": rand(1, 2, 6, 5)}), batch=1)
    assert [(op.kind, op.residual) for op in graph.operators] == [("view", None), ("conv", "p")]


@pytest.mark.parametrize("second", [node("Tanh", "c", "t"), node("Neg", "c", "t")])
def test_a_result_that_two_read_is_left_alone(second: onnx.NodeProto) -> None:
    nodes = [node("Conv", "x w b", "c", **SAME), node("Relu", "c", "r"), second, node("Add", "r t", "y")]
    graph = same_as_onnx(onnx_model(nodes, constants=CONV))
    assert graph["C"].activation is None


def test_a_result_that_is_an_output_is_left_alone() -> None:
    proto = onnx_model([node("Conv", "x w b", "c", **SAME), node("Relu", "c", "y")], constants=CONV)
    proto.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, None))
    graph = Network.from_model(ir.from_proto(proto), "test").at_batch(2)
    assert [op.kind for op in graph.operators] == ["conv", "activation"]
    assert [spec.name for spec in graph.outputs] == ["y", "c"]


def test_no_residual_after_an_activation() -> None:
    nodes = [node("Conv", "x w", "c", **SAME), node("Relu", "c", "r"), node("Add", "r x", "y")]
    graph = same_as_onnx(onnx_model(nodes, constants={"w": rand(4, 4, 3, 3)}))
    assert [op.kind for op in graph.operators] == ["conv", "binary"]


def test_a_tensor_added_to_itself_is_no_residual() -> None:
    graph = same_as_onnx(onnx_model([node("Conv", "x w b", "c", **SAME), node("Add", "c c", "y")], constants=CONV))
    assert [op.kind for op in graph.operators] == ["conv", "binary"]


def test_a_broadcast_sum_is_no_residual() -> None:
    nodes = [node("Conv", "x w b", "c"), node("GlobalAveragePool", "c", "p"), node("Conv", "p v b", "d"), node("Add", "c d", "y")]
    graph = same_as_onnx(onnx_model(nodes, constants={**CONV, "v": rand(6, 6, 1, 1)}))
    assert [op.kind for op in graph.operators] == ["conv", "pool", "conv", "binary"]


@pytest.mark.parametrize("kind", ["Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "LeakyRelu"])
def test_activations_end_sums_and_normalisations_too(kind: str) -> None:
    nodes = [node("BatchNormalization", "x g g g v", "m"), node(kind, "m", "a"), node("Mul", "a x", "p"), node(kind, "p", "y")]
    graph = same_as_onnx(onnx_model(nodes, constants={"g": rand(4), "v": rand(4) ** 2}))
    assert [(op.kind, op.activation is not None) for op in graph.operators] == [("affine", True), ("binary", True)]


@pytest.mark.parametrize("spelt", ["node", "negated"])
def test_the_minimum_pool_can_be_written_in_two_ways(spelt: str) -> None:
    window = {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 1, 1]}
    nodes = [node("Neg", "x", "n"), node("MaxPool", "n", "m", **window), node("Neg", "m", "y")]
    if spelt == "node":
        nodes = [node("MinPool", "x", "y", domain="ai.mobiprox", **window)]
    (operator,) = network(nodes).at_batch(2).operators
    assert (operator.kind, operator["op"], operator["kernel"], operator["pads"]) == ("pool", "min", (2, 3), (0, 1, 1, 1))
    x = rand(2, 4, 6, 5)
    y = reference.run_operator(network(nodes).at_batch(2), operator, {"x": x})
    np.testing.assert_array_equal(y[:, :, 1, 1], x[:, :, 2:4, 0:3].min((2, 3)))
    np.testing.assert_array_equal(y[:, :, 0, 0], x[:, :, 0:2, 0:2].min((2, 3)))


_STEPS = ("add", "sub", "from", "mul", "div", "bn", "relu", "neg", "residual", "dropout", "identity", "scalar")


@settings(max_examples=60, deadline=None)
@given(layer=st.sampled_from(["conv", "conv1d", "depthwise", "gemm", "matmul", "bn"]), steps=st.lists(st.sampled_from(_STEPS), max_size=5))
def test_no_folding_changes_the_result(layer: str, steps: list[str]) -> None:
    shape, first, constants = {
        "conv": (IMAGE, node("Conv", "x w0 b0", "t0", **SAME), {"w0": rand(4, 4, 3, 3), "b0": rand(4)}),
        "conv1d": (["n", 4, 7], node("Conv", "x w0 b0", "t0", pads=[1, 1]), {"w0": rand(4, 4, 3), "b0": rand(4)}),
        "depthwise": (IMAGE, node("Conv", "x w0", "t0", group=4, **SAME), {"w0": rand(4, 1, 3, 3)}),
        "gemm": (["n", 4], node("Gemm", "x w0 b0", "t0", alpha=0.5, beta=2.0), {"w0": rand(4, 4), "b0": rand(1, 4)}),
        "matmul": (["n", 3, 4], node("MatMul", "x w0", "t0"), {"w0": rand(4, 4)}),
        "bn": (IMAGE, node("BatchNormalization", "x w0 w0 w0 b0", "t0"), {"w0": rand(4), "b0": rand(4) ** 2}),
    }[layer]
    last = layer in ("gemm", "matmul")
    channels = (4,) if last else (4,) + (1,) * (len(shape) - 2)
    nodes, tensor = [first], "t0"
    for number, step in enumerate(steps, start=1):
        out, value, const = f"t{number}", 0.5 + np.abs(rand(*channels, seed=number)), f"k{number}"
        if step in ("add", "sub", "mul", "div", "scalar", "from"):
            constants[const] = np.float32(1.5) if step == "scalar" else value
            kind = {"scalar": "Mul", "from": "Sub"}.get(step, step.capitalize())
            nodes.append(node(kind, f"{const} {tensor}" if step == "from" else f"{tensor} {const}", out))
        elif step == "bn":
            size = shape[1]
            constants[const] = 0.5 + np.abs(rand(int(size), seed=number))
            nodes.append(node("BatchNormalization", f"{tensor} {const} {const} {const} {const}", out))
        elif step == "residual":
            nodes.append(node("Add", f"x {tensor}", out))
        else:
            nodes.append(node(step.capitalize(), tensor, out))
        tensor = out
    constants = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    proto = onnx_model([*nodes, node("Identity", tensor, "y")], shape=shape, constants=constants)
    graph = same_as_onnx(proto)
    if not {"relu", "residual", "bn"} & set(steps):
        assert len(graph.operators) == 1, [op.kind for op in graph.operators]


# ------------------------------------------------------------------------------------------------------- normal forms and folding


def test_constants_are_computed_once_and_dropout_goes_away() -> None:
    nodes = [
        node("Cast", "half", "w", to=TensorProto.FLOAT),
        node("DequantizeLinear", "q scale zero", "b"),
        node("Constant", "", "keep", value=numpy_helper.from_array(np.float32(0.5))),
        node("Conv", "x w b", "c"),
        node("Dropout", "c keep", "d"),
        node("Identity", "d", "e"),
        node("Constant", "", "factor", value_float=2.0),
        node("Mul", "e factor", "y"),
    ]
    q, scale, zero = np.arange(6, dtype=np.int8), np.float32(0.5), np.int8(1)
    constants = {"half": rand(6, 4, 3, 3).astype(np.float16), "q": q, "scale": scale, "zero": zero}
    (operator,) = same_as_onnx(onnx_model(nodes, constants=constants, opset=21)).operators
    np.testing.assert_allclose(operator.constants["bias"], 2 * (np.arange(6) - 1) * 0.5)


def test_shape_arithmetic_is_folded_for_every_batch() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target", "r"),
        node("Shape", "r", "s2", start=1, end=2),
        node("Concat", "n1 minus s2", "target2", axis=0),
        node("Reshape", "r target2", "y"),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1, 5]), "minus": np.array([-1])}
    proto = onnx_model(nodes, constants={k: v.astype(np.int64) for k, v in constants.items()})
    for batch in (1, 4):
        graph = Network.from_model(ir.from_proto(proto), "test").at_batch(batch)
        assert [op.kind for op in graph.operators] == ["view", "view"]
        assert graph.outputs[0].shape == (batch, 5, 24)


def test_matrix_products_with_a_constant_become_dense_layers() -> None:
    for inputs, constant in (("x k", (5, 3)), ("k x", (2, 6)), ("x k", (5,)), ("k x", (6,))):
        graph = same_as_onnx(onnx_model([node("MatMul", inputs, "y")], constants={"k": rand(*constant)}))
        assert graph["Y"].kind == "dense"
        assert {op.kind for op in graph.operators} <= {"dense", "view"}


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [[1, 1], [2, 3]])
def test_padding_that_a_node_leaves_to_us_is_resolved(auto: str, strides: list[int]) -> None:
    same_as_onnx(onnx_model([node("Conv", "x w b", "y", auto_pad=auto, strides=strides)], constants=CONV))
    same_as_onnx(onnx_model([node("MaxPool", "x", "y", auto_pad=auto, strides=strides, kernel_shape=[2, 3])]), runtime=True)


@pytest.mark.parametrize("attributes", [{"dilations": [2, 1]}, {"strides": [2, 1], "pads": [0, 1, 2, 0]}, {"group": 2}])
def test_every_convolution_attribute_counts(attributes: dict[str, Any]) -> None:
    weight = rand(6, 4 // attributes.get("group", 1), 2, 3)
    same_as_onnx(onnx_model([node("Conv", "x w b", "y", **attributes)], constants={**CONV, "w": weight}))


def test_a_one_dimensional_convolution_is_a_flat_one() -> None:
    proto = onnx_model([node("Conv", "x w", "y", strides=[2], pads=[1, 2])], shape=["n", 4, 9], constants={"w": rand(6, 4, 3)})
    graph = same_as_onnx(proto)
    (operator,) = graph.operators
    assert operator.constants["weight"].shape == (6, 4, 1, 3)
    assert operator.constants["bias"].tolist() == [0] * 6
    assert (operator["strides"], operator["pads"], operator["dilations"]) == ((1, 2), (0, 1, 0, 2), (1, 1))
    assert graph.shape("y") == (3, 6, 5)


def test_old_operator_sets_mean_what_they_meant() -> None:
    for axis in (1, 2, 3, -1):
        for kind in ("Softmax", "LogSoftmax"):
            same_as_onnx(onnx_model([node(kind, "x", "y", axis=axis)], opset=11), runtime=True)
    graph = same_as_onnx(onnx_model([node("Softmax", "x", "y")], opset=11), runtime=True)
    assert [op.kind for op in graph.operators] == ["view", "softmax", "view"]
    same_as_onnx(onnx_model([node("Clip", "x", "y", min=-0.5, max=0.25)], opset=9), runtime=True)
    same_as_onnx(onnx_model([node("Unsqueeze", "x", "y", axes=[1])], opset=11), runtime=True)
    same_as_onnx(onnx_model([node("ReduceMean", "x", "y", axes=[2, 3], keepdims=0)], opset=13))


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_a_window_that_would_start_in_the_padding_is_dropped(kind: str) -> None:
    nodes = [
        node(kind, "x", "p", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1], ceil_mode=1),
        node("Flatten", "p", "f"),
        node("Gemm", "f w", "y"),
    ]
    graph = same_as_onnx(onnx_model(nodes, shape=["n", 4, 6, 6], constants={"w": rand(36, 2)}))  # ONNX Runtime cannot load it
    assert graph.shape("p") == (3, 4, 3, 3)


def test_views_keep_their_python_meaning() -> None:
    constants = {"starts": np.array([4, 1]), "ends": np.array([-(2**31), 100]), "axes": np.array([2, 3]), "steps": np.array([-2, 2])}
    graph = same_as_onnx(onnx_model([node("Slice", "x starts ends axes steps", "y")], constants=constants))
    assert graph.operators[0]["slices"] == ((0, 3, 1), (0, 4, 1), (4, -7, -2), (1, 5, 2))


def test_split_gives_slices() -> None:
    graph = same_as_onnx(onnx_model([node("Split", "x", "a b", axis=1), node("Sub", "b a", "y")]))
    assert [op.kind for op in graph.operators] == ["view", "view", "binary"]


def test_names_are_unique_and_come_from_the_model() -> None:
    nodes = [node("Conv", "x w b", "c"), node("Relu", "c", "r"), node("Conv", "r v", "y")]
    nodes[2].name = nodes[0].name
    nodes[1].name = ""
    graph = same_as_onnx(onnx_model(nodes, constants={**CONV, "v": rand(6, 6, 1, 1)}))
    assert [op.name for op in graph.operators] == ["C", "C_1"]
    assert graph.operators[0].nodes == ("C", "r")


def test_an_activation_may_be_called_weight() -> None:
    nodes = [node("Relu", "x", "weight"), node("Conv", "weight w b", "y")]
    graph = same_as_onnx(onnx_model(nodes, constants=CONV))
    assert graph["Y"].reads == (graph.operators[0].output,)


def test_an_identity_network_is_a_copy() -> None:
    assert [op.kind for op in same_as_onnx(onnx_model([node("Identity", "x", "y")])).operators] == ["view"]


# ---------------------------------------------------------------------------------------------------------------- batch and digest


def test_graphs_of_all_batch_sizes_share_their_weights() -> None:
    made = network([node("Conv", "x w b", "c"), node("Mul", "c two", "y")], constants={**CONV, "two": np.float32(2)})
    one, many = made.at_batch(1)["C"], made.at_batch(7)["C"]
    assert one.constants["weight"] is many.constants["weight"]
    assert not one.constants["weight"].flags.writeable
    assert made.at_batch(7) is made.at_batch(7)


def test_a_fixed_batch_is_freed_where_the_graph_allows() -> None:
    made = network([node("Flatten", "x", "f"), node("Gemm", "f w", "y")], shape=[1, 4, 6, 5], constants={"w": rand(120, 3)})
    assert made.batch == 1
    assert made.at_batch(5).outputs[0].shape == (5, 3)


@pytest.mark.parametrize("target", [[1, 120], [1, -1]])
def test_a_reshape_that_hard_codes_the_batch_is_named(target: list[int]) -> None:
    nodes = [node("Reshape", "x target", "flat"), node("Gemm", "flat w", "y")]
    made = network(nodes, shape=[1, 4, 6, 5], constants={"w": rand(120, 3), "target": np.array(target)})
    with pytest.raises(LoweringError) as caught:
        made.at_batch(2)
    assert "FLAT hard-codes the batch" in str(caught.value)


def test_a_result_without_the_batch_is_refused() -> None:
    made = network([node("Reshape", "x target", "y")], shape=[1, 4, 6, 5], constants={"target": np.array([1, -1])})
    with pytest.raises(LoweringError, match="axis 0 is not the batch"):
        made.at_batch(2)
    with pytest.raises(LoweringError, match="batch of 0"):
        made.at_batch(0)


def test_the_simplified_model_is_onnx_and_simplifies_to_itself() -> None:
    nodes = [node("Cast", "half", "w", to=TensorProto.FLOAT), node("Conv", "x w b", "c"), node("Dropout", "c", "d"), node("Relu", "d", "y")]
    proto = onnx_model(nodes, constants={"half": rand(6, 4, 3, 3).astype(np.float16), "b": CONV["b"]})
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6, 4, 3]))
    made = Network.from_model(ir.from_proto(proto), "one")
    simple = onnx.load_from_string(made.to_bytes())
    onnx.checker.check_model(simple, full_check=True)
    assert [n.op_type for n in simple.graph.node] == ["Conv", "Relu"]
    x = rand(2, 4, 6, 5)
    np.testing.assert_array_equal(*(ReferenceEvaluator(m).run(None, {"x": x})[0] for m in (proto, simple)))
    again = Network.from_model(ir.from_proto(simple), "another name")
    assert again.to_bytes() == made.to_bytes()


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w b", "c"), node("Relu", "c", "y")]
    proto = onnx_model(nodes, constants=CONV)
    digest = Network.from_model(ir.from_proto(proto), "a").digest
    proto.producer_name, proto.doc_string, proto.graph.name = "another exporter", "made on Monday", "again"
    assert Network.from_model(ir.from_proto(proto), "b").digest == digest
    onnx.save(proto, tmp_path / "net.onnx")
    code = (
        "import sys, onnx_ir; from mobiprox_core.network import Network; print(Network.from_model(onnx_ir.load(sys.argv[1]), 'c').digest)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "net.onnx")]
    elsewhere = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == digest
    changed = onnx_model(nodes, constants={**CONV, "b": CONV["b"] + 1})
    assert Network.from_model(ir.from_proto(changed), "a").digest != digest


def test_the_users_model_is_not_touched() -> None:
    model = ir.from_proto(onnx_model([node("Identity", "x", "a"), node("Dropout", "a", "b"), node("Relu", "b", "y")]))
    before = ir.to_proto(model).SerializeToString()
    Network.from_model(model, "test").at_batch(4)
    assert ir.to_proto(model).SerializeToString() == before


# ------------------------------------------------------------------------------------------------------------------------ refusals


def test_all_unsupported_nodes_are_named_at_once() -> None:
    nodes = [node("Relu", "x", "r"), node("Erf", "r", "e"), node("TopK", "e k", "t i"), node("Celu", "t", "y")]
    with pytest.raises(UnsupportedOperator) as caught:
        network(nodes, constants={"k": np.array([2])})
    message = str(caught.value)
    assert all(part in message for part in ("E (Erf)", "T (TopK)", "Y (Celu)", "supported are: Add, AveragePool"))
    assert "(Relu)" not in message


def test_another_vendors_operator_of_a_known_name_is_unsupported() -> None:
    with pytest.raises(UnsupportedOperator, match=r"Y \(com.example.Relu\)"):
        network([node("Relu", "x", "y", domain="com.example")])


def test_control_flow_is_unsupported() -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    nodes = [node("ReduceMean", "x", "m", keepdims=0), node("Cast", "m", "c", to=TensorProto.BOOL)]
    with pytest.raises(UnsupportedOperator, match=r"Y \(If\)"):
        network([*nodes, node("If", "c", "y", then_branch=branch, else_branch=branch)])


@pytest.mark.parametrize(
    ("nodes", "shape", "message"),
    [
        ([node("Conv", "x x", "y")], [4, 4, 3, 3], r"Y \(Conv\) has a computed weight \(x\); it must be constant"),
        ([node("Conv", "x w", "y")], ["n", 2, 3, 3, 3], "works in 3 dimensions; 1 and 2 are supported"),
        ([node("MaxPool", "x", "y", kernel_shape=[1, 1, 1])], ["n", 2, 3, 3, 3], "works in 3 dimensions"),
        ([node("BatchNormalization", "x c c c c", "y", training_mode=0)], ["n", 4], ""),
        ([node("Relu", "x", "a"), node("BatchNormalization", "x v v a2 v", "y")], ["n", 2], "has a computed mean"),
        ([node("Pad", "x pads", "y")], ["n", 2], "negative pads"),
        (
            [node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("Relu", "x", "q"), node("Clip", "x m", "y")],
            ["n", 2],
            "computed min",
        ),
        ([node("MaxPool", "x", "y i", kernel_shape=[1]), node("Cast", "i", "z", to=1)], ["n", 2, 3], "gives int64; only float32"),
    ],
)
def test_what_cannot_be_an_operator_says_why(nodes: list[onnx.NodeProto], shape: list[int | str], message: str) -> None:
    constants = {"w": rand(2, 2, 1, 1, 1), "v": np.ones(2, np.float32), "c": np.ones(4, np.float32), "pads": np.array([0, -1, 0, 0])}
    extra = [node("ReduceMean", "x", "a2", axes=[0], keepdims=0), node("ReduceMean", "x", "m", keepdims=0)]
    proto = onnx_model([*extra, *nodes], shape=shape, constants=constants)
    if nodes[-1].output[0] == "z":
        proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    if not message:
        assert Network.from_model(ir.from_proto(proto), "test")
        return
    with pytest.raises(UnsupportedOperator, match=message):
        Network.from_model(ir.from_proto(proto), "test")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": ["n", 3, "height", 5]}, "axis 2 of input x has no fixed length"),
        ({"kind": TensorProto.INT64}, "input x is int64; only float32"),
        ({"kind": TensorProto.FLOAT16}, "input x is float16; only float32"),
        ({"opset": 6}, "operator set 6, older than 7"),
    ],
)
def test_inputs_that_cannot_be_run_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        network([node("Relu", "x", "y")], **changed)


def test_shapes_that_do_not_fit_name_the_node() -> None:
    for nodes, name in (
        ([node("Conv", "x w b", "y")], "Y"),
        ([node("MatMul", "x b", "y")], "Y"),
        ([node("BatchNormalization", "x b b b b", "y")], "Y"),
        ([node("Add", "x w", "y")], "Y"),
    ):
        with pytest.raises(LoweringError, match="shapes do not fit") as caught:
            network(nodes, shape=["n", 5, 7, 7], constants=CONV)
        assert name in str(caught.value)


def test_a_constant_output_is_refused() -> None:
    proto = onnx_model([node("Relu", "x", "y")])
    proto.graph.node.append(node("Identity", "k", "z"))
    proto.graph.initializer.append(numpy_helper.from_array(rand(3), "k"))
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [3]))
    with pytest.raises(LoweringError, match="output z of test is constant"):
        Network.from_model(ir.from_proto(proto), "test")
