"""The conformance cases that ship inside the `onnx` package, as networks that we can run.

ONNX feeds weights as graph inputs; here they become initializers, as they are in trained networks. Operators that we take only of
constants (Cast, DequantizeLinear) get an Add behind them, so that there is something left to run.

    for case in float32_cases():
        outputs = run(Network.from_model(case.model, case.name), case.inputs)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

Arrays = tuple[npt.NDArray[np.float32], ...]

OPERATORS = (
    *("Conv", "Gemm", "MatMul", "BatchNormalization", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"),
    *("Softmax", "LogSoftmax", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Neg"),
    *("ReduceMean", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Split", "Pad", "Expand"),
    *("Identity", "Dropout", "Cast", "DequantizeLinear"),
)

_WEIGHTS = {"Conv": (1, 2), "BatchNormalization": (1, 2, 3, 4), "Clip": (1, 2), "Dropout": (1, 2), "Pad": (2,)}
"""Float inputs that are constants in any network that we take; inputs of other types always are."""

_EITHER = ("Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Concat")
"""Operators that are tried a second time with all inputs but the first constant, and a third time with the first constant."""

_OF_CONSTANTS = ("Cast", "DequantizeLinear")

_SPATIAL = "works in three dimensions; convolutions and pools of one and two are supported"
_INDICES = "is asked for the places of the maxima, which are no float32"
_MASK = "is asked for the mask of a dropout, which is no float32"
_TRAINING = "trains: what it gives depends on the batch, or on chance"

LEFT_OUT: dict[str, str] = {
    "test_averagepool_3d_default": _SPATIAL,
    "test_averagepool_3d_dilations_small": _SPATIAL,
    "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False": _SPATIAL,
    "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True": _SPATIAL,
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False": _SPATIAL,
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": _SPATIAL,
    "test_maxpool_3d_default": _SPATIAL,
    "test_maxpool_3d_dilations": _SPATIAL,
    "test_maxpool_3d_dilations_use_ref_impl": _SPATIAL,
    "test_maxpool_3d_dilations_use_ref_impl_large": _SPATIAL,
    "test_AvgPool3d": _SPATIAL,
    "test_AvgPool3d_stride": _SPATIAL,
    "test_AvgPool3d_stride1_pad0_gpu_input": _SPATIAL,
    "test_MaxPool3d": _SPATIAL,
    "test_MaxPool3d_stride": _SPATIAL,
    "test_MaxPool3d_stride_padding": _SPATIAL,
    "test_Conv3d": _SPATIAL,
    "test_Conv3d_dilated": _SPATIAL,
    "test_Conv3d_dilated_strided": _SPATIAL,
    "test_Conv3d_groups": _SPATIAL,
    "test_Conv3d_no_bias": _SPATIAL,
    "test_Conv3d_stride": _SPATIAL,
    "test_Conv3d_stride_padding": _SPATIAL,
    "test_maxpool_with_argmax_2d_precomputed_pads": _INDICES,
    "test_maxpool_with_argmax_2d_precomputed_strides": _INDICES,
    "test_dropout_default_mask": _MASK,
    "test_dropout_default_mask_ratio": _MASK,
    "test_batchnorm_example_training_mode": _TRAINING,
    "test_batchnorm_epsilon_training_mode": _TRAINING,
    "test_training_dropout": _TRAINING,
    "test_training_dropout_default": _TRAINING,
    "test_training_dropout_default_mask": _TRAINING,
    "test_training_dropout_mask": _TRAINING,
    "test_training_dropout_zero_ratio_mask": _TRAINING,
    "test_training_dropout_zero_ratio": _TRAINING,
}
"""float32 case -> why we do not run it. Cases whose data or result are of another type are no float32 cases and not listed."""


@dataclass(frozen=True, slots=True, eq=False)
class NodeCase:
    """One case. rtol, atol: ONNX's own tolerance."""

    name: str
    operator: str
    proto: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays
    rtol: float
    atol: float

    @property
    def model(self) -> ir.Model:
        return ir.from_proto(self.proto)


@cache
def float32_cases() -> tuple[NodeCase, ...]:
    """Every float32 case of our operators that is not left out."""
    return tuple(case for case in _all_cases() if case.name not in LEFT_OUT)


@cache
def left_out_cases() -> tuple[NodeCase, ...]:
    """Those that are left out, so that a test can hold us to the reasons."""
    return tuple(case for case in _all_cases() if case.name in LEFT_OUT)


@cache
def _all_cases() -> tuple[NodeCase, ...]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators overflow on purpose
        found = load_model_tests(kind="node")
    return (*(case for test in found for case in _cases_of(test)), *_torch_cases())


def _torch_cases() -> Iterable[NodeCase]:
    """Layers that torch exported long ago, weights inside: 1-D and grouped convolutions, which the node cases lack."""
    from onnx.backend.test.loader import load_model_tests

    for test in load_model_tests(kind="pytorch-converted"):
        folder = Path(str(test.model_dir))
        model = onnx.load(folder / "model.onnx")
        if any(node.op_type not in OPERATORS for node in model.graph.node):
            continue
        newer = onnx.version_converter.convert_version(model, 13)  # from operator set 6
        x, y = (numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"{end}_0.pb")) for end in ("input", "output"))
        yield NodeCase(test.name, model.graph.node[0].op_type, newer, (x,), (y,), test.rtol, test.atol)


def _cases_of(test: Any) -> Iterable[NodeCase]:
    """The networks of one ONNX case; none for functions spelt out and for operators that are not ours."""
    node, *others = test.model.graph.node
    if others or node.domain or node.op_type not in OPERATORS:
        return
    for number, (inputs, outputs) in enumerate(test.data_sets):
        name = test.name if number == 0 else f"{test.name}_{number}"
        for suffix, constant in _forms(node.op_type, len(inputs)):
            built = _as_network(test.model, node.op_type, inputs, outputs, constant)
            if built is not None:
                yield NodeCase(name + suffix, node.op_type, *built, test.rtol, test.atol)


def _forms(operator: str, count: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Suffix of the name, and which inputs are constants."""
    yield "", tuple(range(count)) if operator in _OF_CONSTANTS else _WEIGHTS.get(operator, ())
    if operator in _EITHER and count > 1:
        yield "_constant_right", tuple(range(1, count))
        yield "_constant_left", (0,)


def _as_network(
    model: onnx.ModelProto, operator: str, inputs: list[Any], outputs: list[Any], constant: tuple[int, ...]
) -> tuple[onnx.ModelProto, Arrays, Arrays] | None:
    """The model with weights as initializers, what to feed, what to expect; None where data or result are of another type."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    outputs = [numpy_helper.to_array(y) if isinstance(y, onnx.TensorProto) else y for y in outputs]
    names = [info.name for info in model.graph.input]
    arrays = dict(zip(names, inputs, strict=True))
    kept = [n for i, n in enumerate(names) if not (i in constant or (i > 0 and _type(arrays[n]) != TensorProto.FLOAT))]
    if any(_type(array) != TensorProto.FLOAT for array in (outputs[0], *(arrays[n] for n in kept))):
        return None
    fixed = {name: array for name, array in arrays.items() if name not in kept}
    if operator not in _OF_CONSTANTS and not kept:
        return None
    infos = [info for info in proto.graph.input if info.name in kept]
    del proto.graph.input[:]
    proto.graph.input.extend(infos)
    proto.graph.initializer.extend(_initializer(name, value) for name, value in fixed.items())
    if operator in _OF_CONSTANTS:
        _run_something_after(proto)
        arrays["zero"] = np.zeros_like(outputs[0])
        kept = ["zero"]
    return proto, tuple(arrays[n] for n in kept), tuple(outputs)


def _run_something_after(proto: onnx.ModelProto) -> None:
    """output + zero, zero an input."""
    output = proto.graph.output[0]
    zero = onnx.ValueInfoProto()
    zero.CopyFrom(output)
    zero.name = "zero"
    proto.graph.input.append(zero)
    proto.graph.node[0].output[0] = "folded"
    proto.graph.node.append(helper.make_node("Add", ["folded", "zero"], [output.name]))


def _initializer(name: str, value: Any) -> onnx.TensorProto:
    if not isinstance(value, onnx.TensorProto):
        return numpy_helper.from_array(np.asarray(value), name)
    tensor = onnx.TensorProto()
    tensor.CopyFrom(value)
    tensor.name = name
    return tensor


def _type(value: Any) -> int | None:
    """ONNX element type; None for sequences and the like."""
    if isinstance(value, onnx.TensorProto):
        return value.data_type
    return helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype) if isinstance(value, np.ndarray | np.generic) else None
