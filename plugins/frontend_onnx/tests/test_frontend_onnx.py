"""What an experiment gets from the ONNX frontend, and what its user reads when the file is bad."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from mobiprox_frontend_onnx.frontend import Onnx
from onnx import TensorProto, helper, numpy_helper

from mobiprox_core.errors import ExperimentError
from mobiprox_core.network import Network

WEIGHT = np.arange(600, dtype=np.float32).reshape(20, 30)


def save(path: Path, external: bool = False) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="dense", transB=1)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", k]) for n, k in (("x", 30), ("y", 20)))
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin" if external else None, size_threshold=0)


def fault(tmp_path: Path, path: str = "net.onnx") -> str:
    with pytest.raises(ExperimentError) as caught:
        Onnx().load({"path": path}, tmp_path)
    return str(caught.value)


@pytest.mark.parametrize("external", [False, True])
def test_weights_arrive_from_inside_and_from_beside_the_file(tmp_path: Path, external: bool) -> None:
    save(tmp_path / "net.onnx", external)
    assert (tmp_path / "weights.bin").exists() == external
    graph = Network.from_model(Onnx().load({"path": "net.onnx"}, tmp_path), "net").at_batch(2)
    np.testing.assert_array_equal(graph["dense"].constants["weight"], WEIGHT)


def test_a_network_outlives_its_files(tmp_path: Path) -> None:
    save(tmp_path / "net.onnx", external=True)
    network = Network.from_model(Onnx().load({"path": "net.onnx"}, tmp_path), "net")
    (tmp_path / "weights.bin").unlink()
    assert len(network.to_bytes()) > WEIGHT.nbytes


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.onnx") in fault(tmp_path, "none.onnx")
    assert "no file" in fault(tmp_path, ".")


@pytest.mark.parametrize("content", [b"", b"hello, I am no model at all", b"\x08\x08"])
def test_a_foreign_file_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    assert "ONNX" in fault(tmp_path)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.99])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, part: float) -> None:
    save(tmp_path / "net.onnx")
    whole = (tmp_path / "net.onnx").read_bytes()
    (tmp_path / "net.onnx").write_bytes(whole[: int(part * len(whole))])
    assert "net.onnx" in fault(tmp_path)


def test_missing_or_short_weights_are_told(tmp_path: Path) -> None:
    save(tmp_path / "net.onnx", external=True)
    (tmp_path / "weights.bin").write_bytes(b"short")
    assert "too short" in fault(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert "weights are missing" in fault(tmp_path)


@pytest.mark.parametrize("place", ["../weights.bin", "/etc/passwd"])
def test_a_model_cannot_read_files_elsewhere(tmp_path: Path, place: str) -> None:
    save(tmp_path / "net.onnx", external=True)
    model = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = place if entry.key == "location" else entry.value
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert "outside its folder" in fault(tmp_path)


def test_a_model_that_contradicts_itself_is_no_model(tmp_path: Path) -> None:
    save(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[0].input[0] = "nobody"
    onnx.save(model, tmp_path / "net.onnx")
    assert "nobody" in fault(tmp_path)
