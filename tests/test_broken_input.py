"""What is wrong with a network or with data, rather than with the file that names them: still file and line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

EXPERIMENT = """\
mobiprox: 1
model: {frontend: onnx, path: net.onnx}
data:
  tune: {dataset: arrays, split: all, inputs: x.npy, labels: y.npy}
  test: {dataset: arrays, split: all, inputs: x.npy, labels: y.npy}
techniques: [perforation]
search: {heuristic: knapsack}
backend: opencl
"""


def network(*nodes: onnx.NodeProto, channels: int = 3) -> bytes:
    """[N, C, 8, 8] through a convolution to 4 channels, these nodes, the mean of each map, and so 4 classes."""
    weight = numpy_helper.from_array(np.ones((4, channels, 3, 3), np.float32), "weight")
    last = nodes[-1].output[0] if nodes else "c"
    made = [helper.make_node("Conv", ["x", "weight"], ["c"], name="conv"), *nodes]
    made += [helper.make_node("GlobalAveragePool", [last], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(made, "net", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An experiment that is right in every respect."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    (tmp_path / "net.onnx").write_bytes(network())
    np.save(tmp_path / "x.npy", np.zeros((12, 3, 8, 8), np.float32))
    np.save(tmp_path / "y.npy", np.arange(12) % 4)
    return tmp_path


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mobiprox_core", "check", "--deep", "experiment.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))


def expect(done: subprocess.CompletedProcess[str], code: int, place: str, *words: str) -> None:
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors, done.stderr
    assert errors[0].startswith(f"error: experiment.yaml:{place}"), done.stderr
    for word in words:
        assert word in done.stderr
    assert "\n  " in done.stderr.strip(), "there is a mend"
    assert done.returncode == code


def test_what_is_right_passes(folder: Path) -> None:
    done = check(folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", [b"", b"this is no network", network()[:150]], ids=["empty", "text", "cut off"])
def test_a_file_that_is_no_network(folder: Path, content: bytes) -> None:
    (folder / "net.onnx").write_bytes(content)
    expect(check(folder), 3, "2: model", "net.onnx")


def test_an_operator_that_is_not_supported(folder: Path) -> None:
    (folder / "net.onnx").write_bytes(
        network(helper.make_node("Det", ["c"], ["d"], name="the_odd_one"), helper.make_node("Erf", ["c"], ["e"], name="second"))
    )
    expect(check(folder), 5, "2: model", "Erf", "second")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("x.npy", np.zeros((12, 1, 8, 8), np.float32), ["1, 8, 8", "3, 8, 8"]),
        ("x.npy", np.full((12, 3, 8, 8), np.nan, np.float32), ["not finite"]),
        ("x.npy", np.array(["a"] * 12), ["numbers"]),
        ("y.npy", np.arange(11) % 4, ["11", "12"]),
        ("y.npy", np.arange(12), ["4"]),
        ("y.npy", -np.arange(12), ["negative"]),
        ("y.npy", np.arange(12) / 3, ["whole numbers"]),
    ],
    ids=["wrong shape", "not finite", "text", "too few labels", "more labels than classes", "negative labels", "fractions as labels"],
)
def test_data_that_do_not_fit(folder: Path, name: str, array: np.ndarray, words: list[str]) -> None:
    np.save(folder / name, array)
    expect(check(folder), 3, "4: data.tune", *words)


def test_data_that_are_damaged(folder: Path) -> None:
    (folder / "x.npy").write_bytes(b"\x93NUMPY and then nothing")
    expect(check(folder), 3, "4: data.tune", "x.npy")


def test_a_range_beyond_the_samples(folder: Path) -> None:
    (folder / "experiment.yaml").write_text(EXPERIMENT.replace("split: all", "split: '100:'", 1))
    done = check(folder)
    assert done.returncode == 3
    assert "error: experiment.yaml:4: data.tune: " in done.stderr
    assert "empty" in done.stderr


def test_a_pattern_that_no_operator_fits(folder: Path) -> None:
    file = folder / "experiment.yaml"
    file.write_text(file.read_text().replace("{heuristic: knapsack}", "{heuristic: knapsack, include: [conf]}"))
    expect(check(folder), 3, "7: search", "no operator's name fits 'conf'", "did you mean 'conv'?")


def test_an_output_that_is_a_map_instead_of_scores(folder: Path) -> None:
    model = onnx.load_from_string(network())
    del model.graph.node[1:]
    model.graph.node[0].output[0] = "y"
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6, 6]))
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    expect(check(folder), 5, "2: model", "[4, 6, 6]", "one score per class", "class scores")
