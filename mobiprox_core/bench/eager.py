"""A `Graph` as PyTorch calls, one after another: what a network costs in eager mode.

The operators are Mobiprox's, so batch normalisation is folded and constants are computed beforehand, which flatters PyTorch a
little. Every padding and window that PyTorch has a call for is that call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from ..graph import Activation, Graph, Operator, Shape

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Tensor = torch.Tensor
Step = Callable[..., Tensor]


class Eager:
    """A network for `torch.inference_mode`. Weights are copied once."""

    def __init__(self, graph: Graph) -> None:
        self._inputs = [spec.name for spec in graph.inputs]
        self._outputs = [spec.name for spec in graph.outputs]
        self._constants: dict[str, Tensor] = {}
        self._steps: list[tuple[Step, tuple[str, ...], str | None, Callable[[Tensor], Tensor] | None, str]] = []
        for op in graph.operators:
            own = {name: f"{op.name}: {name}" for name in op.constants}
            self._constants |= {own[name]: torch.from_numpy(np.array(values)) for name, values in op.constants.items()}
            constants = {name: self._constants[own[name]] for name in op.constants}
            reads = op.inputs[:1] if op.kind in ("conv", "dense", "affine") else op.inputs
            activation = None if op.activation is None else _activation(op.activation)
            self._steps.append(
                (_STEPS[op.kind](graph, op, constants), tuple(own.get(n, n) for n in reads), op.residual, activation, op.output)
            )

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        """One batch, NumPy in and out."""
        with torch.inference_mode():
            tensors = dict(self._constants)
            tensors.update(zip(self._inputs, map(torch.from_numpy, inputs), strict=True))
            for step, reads, residual, activation, output in self._steps:
                y = step(*[tensors[name] for name in reads])
                if residual is not None:
                    y = y + tensors[residual]
                tensors[output] = y if activation is None else activation(y)
            return tuple(tensors[name].numpy() for name in self._outputs)


def _activation(a: Activation) -> Callable[[Tensor], Tensor]:
    functions: Mapping[str, Callable[[Tensor], Tensor]] = {
        "relu": F.relu,
        "clip": lambda x: torch.clamp(x, a.low, a.high),
        "leaky_relu": lambda x: F.leaky_relu(x, a.alpha),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "hard_sigmoid": lambda x: torch.clamp(a.alpha * x + a.beta, 0.0, 1.0),
        "hard_swish": F.hardswish,
    }
    return functions[a.kind]


def _planar(graph: Graph, op: Operator, step: Callable[[Tensor], Tensor]) -> Step:
    """A step on images, for maps with one spatial axis too."""
    out = graph.shape(op.output)
    return step if len(out) == 4 else lambda x: step(x[:, :, None]).reshape(out)


def _conv(graph: Graph, op: Operator, constants: Mapping[str, Tensor]) -> Step:
    (top, left, bottom, right), strides, dilations, group = op["pads"], op["strides"], op["dilations"], op["group"]
    weight, bias = constants["weight"], constants["bias"]
    if (top, left) == (bottom, right):
        return _planar(graph, op, lambda x: F.conv2d(x, weight, bias, strides, (top, left), dilations, group))
    return _planar(graph, op, lambda x: F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, strides, 0, dilations, group))


def _pool(graph: Graph, op: Operator, constants: Mapping[str, Tensor]) -> Step:
    kernel, strides, dilations = op["kernel"], op["strides"], op["dilations"]
    top, left, bottom, right = op["pads"]
    size, out = (_rows_and_columns(graph.shape(name)) for name in (op.inputs[0], op.output))
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, strides, kernel, dilations, strict=True)]
    below, beside = (max(r - n - p, 0) for r, n, p in zip(reach, size, (top, left), strict=True))  # what the last windows see
    symmetric = (
        (below, beside) <= (top, left)
        and (top, left) == (bottom, right)
        and all(2 * p <= k for p, k in zip((top, left), kernel, strict=True))
    )
    if op["op"] in ("max", "min"):
        sign = 1 if op["op"] == "max" else -1

        def extreme(x: Tensor) -> Tensor:
            if symmetric:
                return F.max_pool2d(x, kernel, strides, (top, left), dilations)
            return F.max_pool2d(F.pad(x, (left, beside, top, below), value=-np.inf), kernel, strides, 0, dilations)

        return _planar(graph, op, extreme if sign == 1 else lambda x: -extreme(-x))
    if symmetric and tuple(dilations) == (1, 1):
        return _planar(graph, op, lambda x: F.avg_pool2d(x, kernel, strides, (top, left), False, op["count_include_pad"]))
    counted = np.pad(np.ones(size, np.float32), ((top, bottom), (left, right)), constant_values=float(op["count_include_pad"]))
    more = ((0, max(reach[0] - len(counted), 0)), (0, max(reach[1] - counted.shape[1], 0)))
    ones = torch.ones((1, 1, *kernel))
    counts = F.conv2d(torch.from_numpy(np.pad(counted, more))[None, None], ones, None, strides, 0, dilations)[..., : out[0], : out[1]]

    def average(x: Tensor) -> Tensor:
        channels = x.shape[1]
        sums = F.conv2d(F.pad(x, (left, beside, top, below)), ones.expand(channels, 1, *kernel), None, strides, 0, dilations, channels)
        return sums / counts

    return _planar(graph, op, average)


def _rows_and_columns(shape: Shape) -> tuple[int, int]:
    return (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])


def _binary(graph: Graph, op: Operator, constants: Mapping[str, Tensor]) -> Step:
    functions: Mapping[str, Step] = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
    return functions[op["op"]]


def _affine(graph: Graph, op: Operator, constants: Mapping[str, Tensor]) -> Step:
    along = (-1, *(1,) * (len(graph.shape(op.output)) - 2))
    scale, shift = constants["scale"].reshape(along), constants["shift"].reshape(along)
    return lambda x: torch.addcmul(shift, x, scale)


def _softmax(graph: Graph, op: Operator, constants: Mapping[str, Tensor]) -> Step:
    function = torch.log_softmax if op["log"] else torch.softmax
    return lambda x: function(x, op["axis"])


def _view(graph: Graph, op: Operator, constants: Mapping[str, Tensor]) -> Step:
    shape = graph.shape(op.output)
    match op["op"]:
        case "reshape":
            return lambda x: x.reshape(shape)
        case "transpose":
            return lambda x: x.permute(op["perm"])
        case "concat":
            return lambda *parts: torch.cat(parts, op["axis"])
        case "expand":
            return lambda x: x.expand(shape)
        case "slice":
            return _slice(graph, op)
        case "pad":
            return _pad(graph, op)
    raise AssertionError(op["op"])


def _slice(graph: Graph, op: Operator) -> Step:
    slices = tuple(slice(*bounds) for bounds in op["slices"])
    if all(s.step is None or s.step > 0 for s in slices):
        return lambda x: x[slices]
    return _picked(np.arange(length)[s] for length, s in zip(graph.shape(op.inputs[0]), slices, strict=True))


def _pad(graph: Graph, op: Operator) -> Step:
    if op["mode"] == "constant":
        flat = [amount for before, after in reversed(op["pads"]) for amount in (before, after)]
        return lambda x: F.pad(x, flat, value=op["value"])
    shape = graph.shape(op.inputs[0])
    return _picked(np.pad(np.arange(length), amounts, op["mode"]) for length, amounts in zip(shape, op["pads"], strict=True))


def _picked(indices: Any) -> Step:
    """Elements by their indices along every axis."""
    chosen = [torch.from_numpy(np.array(along)) for along in indices]

    def pick(x: Tensor) -> Tensor:
        for axis, along in enumerate(chosen):
            x = x.index_select(axis, along)
        return x

    return pick


_STEPS: Mapping[str, Callable[[Graph, Operator, Mapping[str, Tensor]], Step]] = {
    "conv": _conv,
    "dense": lambda graph, op, constants: lambda x: F.linear(x, constants["weight"], constants["bias"]),
    "matmul": lambda graph, op, constants: torch.matmul,
    "binary": _binary,
    "affine": _affine,
    "activation": lambda graph, op, constants: lambda x: x,
    "pool": _pool,
    "softmax": _softmax,
    "reduce_mean": lambda graph, op, constants: lambda x: x.mean(op["axes"], op["keepdims"]),
    "view": _view,
}
