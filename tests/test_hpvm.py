"""Configuration files of HPVM: the grammar, the way there and back, and what they mean for a network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mobiprox_core import exchange, hpvm, plugins
from mobiprox_core.bench.comparison import read_network
from mobiprox_core.cli import main
from mobiprox_core.configuration import Configuration
from mobiprox_core.errors import DataError
from mobiprox_core.graph import Graph
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration
from mobiprox_core.measurement import OperatingPoint

TEXT = """0.0
+++++
conf0 1.0 1.0 91.0 0.0 0.98 0.99 0.80 0.97 0.98 0.78 0.99 0.99 0.83
1 gpu conv fp32 11 add fp32 11 relu fp32 11 pool_max fp32 11
2 gpu conv fp32 11 add fp32 11
3 gpu add fp32 11
4 gpu relu fp32 11
5 gpu mul fp32 11 add fp32 11
6 gpu softmax fp32 11
-----
+++++
conf1 1.42 1.0 90.2 0.8 0.93 0.95 0.74 0.92 0.95 0.73 0.94 0.95 0.75
1 gpu conv perf_fp16 154 add fp16 12 relu fp16 12 pool_max fp16 12
2 gpu conv samp 233 add fp32 11
3 gpu add fp32 11
4 gpu relu fp32 11
5 gpu mul fp16 12 add fp16 12
6 gpu softmax fp32 11
-----
"""


def network() -> onnx.ModelProto:
    """conv relu maxpool, conv with a residual add, relu, dense, softmax."""
    rng = np.random.default_rng(0)
    weights = {"w1": (4, 2, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "b2": (4,), "w3": (64, 2), "b3": (2,)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "p"], ["a"]),
        helper.make_node("Relu", ["a"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g"], "fc"),
        helper.make_node("Softmax", ["g"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32), name) for name, shape in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hpvm") / "small.onnx"
    onnx.save(network(), path)
    return path


def graph_of(model: Path) -> Graph:
    return read_network(model, plugins.load()).at_batch(1)


@pytest.fixture(scope="module")
def meaning() -> dict:
    registry = plugins.load()
    return dict(exchange.ids(registry.get("technique", name) for name in registry.names("technique")))


def test_a_file_comes_back_to_the_last_character() -> None:
    assert hpvm.write(hpvm.parse(TEXT, "confs.txt")) == TEXT


NUMBERS = st.floats(-1e6, 1e6).map(repr) | st.integers(0, 99).map(str) | st.sampled_from(["1.50", "1e-05", "0.0", "-0.25"])
KNOBS = st.one_of(
    st.sampled_from([*hpvm.WEIGHTED, *hpvm.OTHERS]).flatmap(
        lambda op: st.sampled_from([(family, i) for family, ids in hpvm.FAMILIES.items() for i in ids]).map(lambda k: hpvm.Knob(op, *k))
    ),
    st.builds(hpvm.Knob, st.sampled_from(hpvm.OTHERS), st.sampled_from(["fp32", "fp16", "red_samp"]), st.integers(0, 99)),
)
NODES = st.builds(hpvm.Node, st.integers(1, 99), st.sampled_from(["gpu", "cpu"]), st.lists(KNOBS, min_size=1, max_size=4).map(tuple))
BLOCKS = st.builds(
    hpvm.Block,
    st.integers(0, 99).map("conf{}".format),
    st.integers(0, 3).flatmap(lambda triples: st.lists(NUMBERS, min_size=4 + 3 * triples, max_size=4 + 3 * triples)).map(tuple),
    st.lists(NODES, max_size=4).map(tuple),
)


@given(st.builds(hpvm.File, NUMBERS, st.lists(BLOCKS, min_size=1, max_size=3).map(tuple)))
@settings(max_examples=100, deadline=None)
def test_whatever_can_be_written_is_read_as_it_was(file: hpvm.File) -> None:
    assert hpvm.parse(hpvm.write(file), "confs.txt") == file
    assert hpvm.from_json(json.loads(json.dumps(hpvm.to_json(file))), "confs.json") == file


def test_what_follows_fp32_and_fp16_is_ignored_but_kept() -> None:
    odd = TEXT.replace("mul fp16 12", "mul fp16 11").replace("softmax fp32 11", "softmax fp32 1")
    file = hpvm.parse(odd, "confs.txt")
    assert file.blocks[1].nodes[4].knobs[0].id == 12
    assert hpvm.write(file) == odd


@pytest.mark.parametrize(
    ("was", "becomes", "line", "words"),
    [
        ("0.0\n", "fast\n", 1, "milliseconds"),
        ("+++++\nconf1", "++++\nconf1", 11, "expected '\\+\\+\\+\\+\\+'"),
        ("0.93 0.95 0.74 0.92", "0.93 0.95 0.92", 12, "in threes"),
        ("samp 233", "samp 121", 14, "its ids are 231 to 239"),
        ("samp 233", "magic 233", 14, "unknown knob"),
        ("5 gpu mul fp16 12 add fp16 12", "5 gpu mul fp16", 17, "family and id"),
        (
            "3 gpu add fp32 11\n4 gpu relu fp32 11\n5 gpu mul fp16",
            "3 npu add fp32 11\n4 gpu relu fp32 11\n5 gpu mul fp16",
            15,
            "gpu or cpu",
        ),
        ("6 gpu softmax fp32 11\n-----\n", "6 gpu warp fp32 11\n-----\n", 9, "unknown operation 'warp'"),
    ],
)
def test_damage_is_named_with_its_line(was: str, becomes: str, line: int, words: str) -> None:
    assert was in TEXT
    with pytest.raises(DataError, match=words) as caught:
        hpvm.parse(TEXT.replace(was, becomes), "confs.txt")
    assert caught.value.where == f"confs.txt:{line}"
    assert caught.value.mend


@pytest.mark.parametrize("text", ["", "\n\n", "0.0\n", TEXT[:-6], "0.0\n+++++\n", "\x00\x01"])
def test_half_a_file_is_an_error_not_a_crash(text: str) -> None:
    with pytest.raises(DataError):
        hpvm.parse(text, "confs.txt")


def test_blocks_become_configurations_of_the_network(meaning: dict, model: Path) -> None:
    graph = graph_of(model)
    exact, mixed = (hpvm.configuration(block, graph, meaning, "confs.txt") for block in hpvm.parse(TEXT, "confs.txt").blocks)
    assert exact == Configuration({})
    by_kind = dict(zip([op.name for op in graph.operators if op.kind in ("conv", "dense")], ("first", "second", "third"), strict=True))
    assert {by_kind[op]: str(setting) for op, setting in mixed.settings.items()} == {
        "first": str(meaning[154]),
        "second": str(meaning[233]),
        "third": str(meaning[12]),
    }


def test_configurations_become_the_same_blocks_again(meaning: dict, model: Path) -> None:
    graph = graph_of(model)
    numbers = exchange.numbers(meaning)
    for block in hpvm.parse(TEXT, "confs.txt").blocks:
        assert hpvm.nodes(hpvm.configuration(block, graph, meaning, ""), graph, numbers) == block.nodes


def test_another_network_is_refused(meaning: dict, model: Path) -> None:
    graph = graph_of(model)
    fewer = hpvm.parse(TEXT.replace("5 gpu mul fp32 11 add fp32 11\n", "", 1), "confs.txt").blocks[0]
    with pytest.raises(DataError, match="2 operations with weights; 'small' has 3"):
        hpvm.configuration(fewer, graph, meaning, "confs.txt")
    other = hpvm.parse(TEXT.replace("mul", "group_conv"), "confs.txt").blocks[0]
    with pytest.raises(DataError, match="operation 3 is a 'group_conv'"):
        hpvm.configuration(other, graph, meaning, "confs.txt")


def test_settings_without_an_id_are_all_named(meaning: dict, model: Path) -> None:
    graph = graph_of(model)
    names = [op.name for op in graph.operators if op.kind in ("conv", "dense")]
    both = "perforation(axis=rows, offset=0, stride=2) + filter_sampling(offset=0, stride=2)"
    with pytest.raises(DataError, match=f"'{names[0]}'; .*'{names[2]}'"):
        hpvm.nodes(
            Configuration({names[0]: both, names[2]: "filter_sampling(offset=0, stride=2)"}),
            graph,
            {v: k for k, v in meaning.items() if k < 200},
        )


def test_the_commands_read_a_file_and_write_it_again(model: Path, tmp_path: Path) -> None:
    (tmp_path / "confs.txt").write_text(TEXT, encoding="utf-8")
    options = ["--model", str(model), "--out"]
    read = CliRunner().invoke(main, ["import-hpvm", str(tmp_path / "confs.txt"), *options, str(tmp_path / "confs.json")])
    assert read.exit_code == 0, read.output
    assert "settings" in json.loads((tmp_path / "confs.json").read_text(encoding="utf-8"))["configurations"][1]
    wrote = CliRunner().invoke(main, ["export-hpvm", str(tmp_path / "confs.json"), *options, str(tmp_path / "again.txt")])
    assert wrote.exit_code == 0, wrote.output
    assert (tmp_path / "again.txt").read_text(encoding="utf-8") == TEXT


def test_figures_of_a_level_are_its_speedup_energy_accuracy_loss_and_confidences() -> None:
    exact, level = OperatingPoint(Configuration({}), 0.0, 8.0, 6.0), OperatingPoint(Configuration({}), 1.5, 4.0, 2.0)
    known = LevelCalibration(
        0.5, 0.9, 1.0, ClassConfidence(3, 1, 0.8, 0.4), (ClassConfidence(3, 0, 0.8, None), ClassConfidence(0, 0, None, None))
    )
    assert list(map(float, hpvm.figures(level, exact, known))) == pytest.approx([2, 3, 90, 1.5, 0.7, 0.8, 0.4, 0.8, 0.8, 0, 0, 0, 0])
