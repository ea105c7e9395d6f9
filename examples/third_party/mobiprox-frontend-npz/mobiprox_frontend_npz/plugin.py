"""Dense networks from an .npz file: matrices weight0 [K, O], weight1, ..., vectors bias0 [O], ..., ReLU between them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.datasets import PATH, located
from mobiprox_core.errors import ExperimentError
from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import Options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx_ir


class Npz:
    name = "npz"
    summary = "dense networks from the weights in an .npz file"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"path": {**PATH, "description": "an .npz file with weight0, bias0, weight1, bias1, ..."}},
        "required": ["path"],
    }

    def load(self, options: Options, folder: Path) -> onnx_ir.Model:
        import onnx_ir

        return onnx_ir.from_proto(model(layers(located(options["path"], folder))))


def layers(path: Path) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Weights [K, O] and biases [O], in order. Raises ExperimentError."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], np.float32) for name in file.files}
    except Exception as error:  # a damaged archive raises whatever its first wrong byte leads to
        raise ExperimentError(f"{path} is no readable .npz file: {error}", mend="write it with numpy.savez") from error
    found = [(arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(len(arrays) // 2) if {f"weight{i}", f"bias{i}"} <= set(arrays)]
    fits = all(weight.ndim == 2 and bias.shape == weight.shape[1:] and np.isfinite(weight).all() for weight, bias in found)
    chained = all(one[0].shape[1] == other[0].shape[0] for one, other in pairwise(found) if fits)
    if not found or not fits or not chained:
        raise ExperimentError(
            f"{path} holds no dense layers that follow each other", mend="save weight0 [K, O], bias0 [O], weight1 [O, P], ..."
        )
    return found


def model(found: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]) -> Any:
    """The network as ONNX: Gemm, Relu, Gemm, ..."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, last = [], [], "x"
    for index, (weight, bias) in enumerate(found):
        constants += [numpy_helper.from_array(weight, f"weight{index}"), numpy_helper.from_array(bias, f"bias{index}")]
        ends = index == len(found) - 1
        nodes.append(
            helper.make_node("Gemm", [last, f"weight{index}", f"bias{index}"], ["y" if ends else f"h{index}"], name=f"dense{index}")
        )
        if not ends:
            nodes.append(helper.make_node("Relu", [f"h{index}"], [last := f"r{index}"], name=f"relu{index}"))
    ends = [(name, size) for name, size in (("x", found[0][0].shape[0]), ("y", found[-1][0].shape[1]))]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in ends)
    graph = helper.make_graph(nodes, "npz", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@hookimpl
def mobiprox_frontends() -> list[Npz]:
    return [Npz()]
