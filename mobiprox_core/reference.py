"""What a graph means, in NumPy: the definition that kernels are checked against.

Exact operators mean what ONNX says (`onnx.reference.ReferenceEvaluator`); approximated ones are the functions of
`interfaces.Approximation` around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .configuration import EXACT, EXACT_CONFIGURATION, Configuration, OpId, Setting
from .correction import Correction, Corrections
from .errors import UsageError
from .graph import Activation, Graph, Operator
from .interfaces import Approximation, Statistics, Technique

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_NO_TECHNIQUES: Mapping[str, Technique] = MappingProxyType({})
_NO_CORRECTIONS: Corrections = MappingProxyType({})

Known = Callable[[OpId], Statistics | None]
"""The statistics of an operator; None where there are none."""


def _nothing(op: OpId) -> None:
    return None


def run(
    graph: Graph,
    inputs: Sequence[Floats],
    configuration: Configuration = EXACT_CONFIGURATION,
    techniques: Mapping[str, Technique] = _NO_TECHNIQUES,
    statistics: Known = _nothing,
    corrections: Corrections = _NO_CORRECTIONS,
) -> tuple[Floats, ...]:
    """The outputs of a graph. inputs: float32 of exactly the graph's shapes. techniques: by name, those that the configuration uses.
    statistics: of operators whose settings are fitted. corrections: of the configuration.

    Raises UsageError where inputs do not fit, InfeasibleSetting where a setting means nothing for its operator.
    """
    tensors = activations(graph, inputs, configuration, techniques, statistics, corrections)
    return tuple(tensors[spec.name] for spec in graph.outputs)


def activations(
    graph: Graph,
    inputs: Sequence[Floats],
    configuration: Configuration = EXACT_CONFIGURATION,
    techniques: Mapping[str, Technique] = _NO_TECHNIQUES,
    statistics: Known = _nothing,
    corrections: Corrections = _NO_CORRECTIONS,
) -> dict[str, Floats]:
    """Like `run`, but every tensor of the graph, by name."""
    found, wanted = [tuple(np.shape(x)) for x in inputs], [spec.shape for spec in graph.inputs]
    if found != wanted:
        raise UsageError(f"{graph.name} takes inputs of shapes {wanted}, not {found}")
    tensors = {spec.name: np.asarray(x, np.float32) for spec, x in zip(graph.inputs, inputs, strict=True)}
    for op in graph.operators:
        correction = corrections.get(op.name)
        tensors[op.output] = run_operator(graph, op, tensors, configuration[op.name], techniques, statistics, correction)
    return tensors


def run_operator(
    graph: Graph,
    op: Operator,
    inputs: Mapping[str, Floats],
    setting: Setting = EXACT,
    techniques: Mapping[str, Technique] = _NO_TECHNIQUES,
    statistics: Known = _nothing,
    correction: Correction | None = None,
) -> Floats:
    """The output of one operator. inputs: at least the tensors that it reads, by name.

    The parts of a setting work in the order of its spelling, each of their functions on what the one before it gave; a correction comes
    after what they do to weights and bias, and before what they do to the output.
    """
    known = statistics(op.name) if setting else None
    parts = []
    for part in setting:
        technique = techniques[part.technique]
        parts.append(technique.reference(part, op, graph, technique.prepare(part, op, known)))
    reads = {name: _through(parts, "input", inputs[name]) for name in op.inputs if name not in op.constants}
    if op.kind in ("conv", "dense"):
        weight = _through(parts, "weight", op.constants["weight"])
        x = reads[op.inputs[0]]
        bias = _through(parts, "bias", op.constants["bias"])
        if correction is not None and correction.weight is not None:
            flat = np.zeros((len(weight), weight[0].size), np.float32)
            flat[:, correction.taps] = correction.weight
            weight, bias = flat.reshape(weight.shape), correction.bias
        y = _conv(graph, op, x, weight, bias) if op.kind == "conv" else x @ weight.T + bias
        if correction is not None and correction.scale is not None:
            along = (-1, 1, 1) if op.kind == "conv" else (-1,)
            y = y * correction.scale.reshape(along) + correction.bias.reshape(along)
        y = _through(parts, "output", y)
    else:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            y = _OPERATORS[op.kind](graph, op, [reads[n] if n in reads else op.constants[n] for n in op.inputs])
    y = y.reshape(graph.shape(op.output))
    if op.residual is not None:
        y = y + _through(parts, "residual", inputs[op.residual])
    if op.activation is not None:
        y = activate(y, op.activation)
    return np.asarray(_through(parts, "finish", y), np.float32, order="C")


def activate(x: Floats, activation: Activation) -> Floats:
    """The activation function, element by element."""
    a = activation
    one = np.float32(1)
    match a.kind:
        case "relu":
            return np.maximum(x, np.float32(0))
        case "clip":
            return np.minimum(np.maximum(x, np.float32(a.low)), np.float32(a.high))
        case "leaky_relu":
            return np.where(x < 0, np.float32(a.alpha) * x, x)
        case "sigmoid":
            with np.errstate(over="ignore"):
                return one / (one + np.exp(-x))
        case "tanh":
            return np.tanh(x)
        case "hard_sigmoid":
            return np.asarray(np.clip(np.float32(a.alpha) * x + np.float32(a.beta), np.float32(0), one))
        case "hard_swish":
            return np.asarray(x * np.clip(x / np.float32(6) + np.float32(0.5), np.float32(0), one))
    raise AssertionError(a.kind)


def _through(parts: Iterable[Approximation], function: str, x: Floats) -> Floats:
    functions: Iterable[Callable[[Floats], Floats] | None] = (getattr(part, function) for part in parts)
    return reduce(lambda value, change: change(value) if change else value, functions, x)


def _planar(x: Floats) -> Floats:
    """[N, C, L] as [N, C, 1, L]; images stay as they are."""
    return x[:, :, None] if x.ndim == 3 else x


def windows(graph: Graph, op: Operator, x: Floats) -> Floats:
    """What the filters of a convolution see: a view [N, C, OH, OW, KH, KW] of its input, padded with zeros; 1-D as OH = KH = 1."""
    height, width = op.constants["weight"].shape[2:]
    return _windows(_planar(x), (height, width), op, _size(graph, op), 0.0)


def _size(graph: Graph, op: Operator) -> tuple[int, int]:
    """Rows and columns of the output."""
    out = graph.shape(op.output)
    return (out[2], out[3]) if len(out) == 4 else (1, out[2])


def _windows(x: Floats, kernel: tuple[int, int], op: Operator, out: tuple[int, int], value: float) -> Floats:
    """What the filter sees at every output position: a view [..., OH, OW, KH, KW] of x[..., H, W], padded with a value.

    A last window may reach beyond the padding (ceil_mode); it sees the same value there.
    """
    (top, left, bottom, right), strides, dilations = op["pads"], op["strides"], op["dilations"]
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    reach = [(o - 1) * s + w for o, s, w in zip(out, strides, span, strict=True)]
    height, width = x.shape[-2] + top + bottom, x.shape[-1] + left + right
    more = ((top, bottom + max(reach[0] - height, 0)), (left, right + max(reach[1] - width, 0)))
    padded = np.pad(x, (*[(0, 0)] * (x.ndim - 2), *more), constant_values=value)
    view = sliding_window_view(padded, tuple(span), axis=(-2, -1))
    rows, columns = (slice(None, (o - 1) * s + 1, s) for o, s in zip(out, strides, strict=True))
    return view[..., rows, columns, :: dilations[0], :: dilations[1]]


def _conv(graph: Graph, op: Operator, x: Floats, weight: Floats, bias: Floats) -> Floats:
    """float32[N, O, OH, OW], bias added. One image at a time: its patches are `columns`."""
    x = _planar(x)
    channels, (_, per_group, *kernel), group = len(weight), weight.shape, op["group"]
    size = _size(graph, op)
    rows = weight.reshape(group, channels // group, -1)
    y = np.empty((len(x), channels, *size), np.float32)
    for image, result in zip(x, y, strict=True):
        patches = _windows(image, (kernel[0], kernel[1]), op, size, 0.0)  # [C, OH, OW, KH, KW]
        columns = patches.transpose(0, 3, 4, 1, 2).reshape(group, per_group * kernel[0] * kernel[1], -1)
        result[:] = (rows @ columns).reshape(result.shape)
    return y + bias[:, None, None]


def _pool(graph: Graph, op: Operator, inputs: list[Floats]) -> Floats:
    x = _planar(inputs[0])
    size = _size(graph, op)
    if op["op"] in ("max", "min"):
        best, worst = (np.maximum, -np.inf) if op["op"] == "max" else (np.minimum, np.inf)
        windows = _windows(x, op["kernel"], op, size, worst)
        return reduce(best, (windows[..., i, j] for i, j in np.ndindex(*op["kernel"])))  # reducing two axes of a view at once is slow
    inside = np.ones(x.shape[2:], np.float32)
    if op["count_include_pad"]:  # padding counts; what ceil_mode adds beyond it does not
        top, left, bottom, right = op["pads"]
        inside = np.ones((x.shape[2] + top + bottom, x.shape[3] + left + right), np.float32)
        counted = _windows(inside, op["kernel"], replace(op, attributes={**op.attributes, "pads": (0, 0, 0, 0)}), size, 0.0)
    else:
        counted = _windows(inside, op["kernel"], op, size, 0.0)
    return np.asarray(_windows(x, op["kernel"], op, size, 0.0).sum((-2, -1)) / counted.sum((-2, -1)))


def _binary(graph: Graph, op: Operator, inputs: list[Floats]) -> Floats:
    functions: Mapping[str, Any] = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    return np.asarray(functions[op["op"]](*inputs))


def _affine(graph: Graph, op: Operator, inputs: list[Floats]) -> Floats:
    along = (-1, *(1,) * (inputs[0].ndim - 2))
    return inputs[0] * op.constants["scale"].reshape(along) + op.constants["shift"].reshape(along)


def _softmax(graph: Graph, op: Operator, inputs: list[Floats]) -> Floats:
    shifted = inputs[0] - inputs[0].max(op["axis"], keepdims=True)
    total = np.exp(shifted).sum(op["axis"], keepdims=True)
    return np.asarray(shifted - np.log(total) if op["log"] else np.exp(shifted) / total)


def _reduce_mean(graph: Graph, op: Operator, inputs: list[Floats]) -> Floats:
    return np.asarray(inputs[0].mean(op["axes"], keepdims=op["keepdims"]))


def _view(graph: Graph, op: Operator, inputs: list[Floats]) -> Floats:
    x = inputs[0]
    match op["op"]:
        case "reshape":
            return x
        case "transpose":
            return x.transpose(op["perm"])
        case "slice":
            return x[tuple(slice(*bounds) for bounds in op["slices"])]
        case "concat":
            return np.concatenate(inputs, op["axis"])
        case "pad":
            constant = {"constant_values": op["value"]} if op["mode"] == "constant" else {}
            return np.pad(x, op["pads"], op["mode"], **constant)
        case "expand":
            return np.broadcast_to(x, graph.shape(op.output))
    raise AssertionError(op["op"])


_OPERATORS: Mapping[str, Callable[[Graph, Operator, list[Floats]], Floats]] = {
    "matmul": lambda graph, op, inputs: np.asarray(np.matmul(*inputs)),
    "binary": _binary,
    "affine": _affine,
    "activation": lambda graph, op, inputs: inputs[0],
    "pool": _pool,
    "softmax": _softmax,
    "reduce_mean": _reduce_mean,
    "view": _view,
}
