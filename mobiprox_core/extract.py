"""One ONNX node in, the operators that mean the same out: attributes normalised, shapes static. See `graph.Operator` for the kinds.

A reader per ONNX type, in the table `READERS`. A reader raises `Unsupported` where it cannot mean what the node means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .graph import Activation, Operator, Shape
from .simplify import MINPOOL_DOMAIN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx_ir as ir

    Array = npt.NDArray[Any]
    Floats = npt.NDArray[np.float32]


class Unsupported(Exception):
    """Why a node cannot be an operator, in words that follow its name."""


class Misfit(Unsupported):
    """A node whose shapes contradict each other, at this batch size."""


@dataclass(slots=True)
class Node:
    """An ONNX node as the readers want it: constants as arrays, shapes static.

    shapes: of all tensors so far; readers add those that they invent.
    """

    ir: ir.Node
    constants: Mapping[str, Array]
    shapes: dict[str, Shape]
    opset: int

    @property
    def name(self) -> str:
        return self.ir.name or ""

    @property
    def output(self) -> str:
        return self.ir.outputs[0].name or ""

    def has(self, index: int) -> bool:
        return index < len(self.ir.inputs) and self.ir.inputs[index] is not None

    def input(self, index: int) -> str:
        value = self.ir.inputs[index] if index < len(self.ir.inputs) else None
        if value is None:
            raise Unsupported(f"has no input {index}")
        return value.name or ""

    def shape(self, index: int = 0) -> Shape:
        return self.shapes[self.input(index)]

    def constant(self, index: int) -> Array | None:
        """An input that is a constant; None where it is computed or absent."""
        return self.constants.get(self.input(index)) if self.has(index) else None

    def weight(self, index: int, what: str) -> Floats:
        """An input that must be a constant."""
        array = self.constant(index)
        if array is None:
            raise Unsupported(f"has a computed {what} ({self.input(index)}); it must be constant")
        return _floats(array)

    def integers(self, attribute: str, index: int | None = None) -> tuple[int, ...] | None:
        """Integers that newer operator sets read from an input and older ones from an attribute; None where there are none."""
        if index is not None and self.has(index):
            array = self.constant(index)
            if array is None:
                raise Unsupported(f"has computed {attribute} ({self.input(index)}); they must be constant")
            return tuple(int(v) for v in array.reshape(-1))
        value = self.ir.attributes.get(attribute)
        if value is None:
            return None
        return (value.as_int(),) if value.type.name == "INT" else tuple(value.as_ints())

    def number(self, attribute: str, default: float, index: int | None = None) -> float:
        """A scalar that newer operator sets read from an input and older ones from an attribute."""
        if index is not None and self.has(index):
            array = self.constant(index)
            if array is None:
                raise Unsupported(f"has a computed {attribute} ({self.input(index)}); it must be constant")
            return float(array.reshape(()))
        return self.ir.attributes.get_float(attribute, default)

    def flag(self, attribute: str, default: int = 0) -> int:
        return self.ir.attributes.get_int(attribute, default)

    def text(self, attribute: str, default: str) -> str:
        return self.ir.attributes.get_string(attribute, default)

    def axis(self, value: int, rank: int | None = None) -> int:
        return value + (len(self.shape()) if rank is None else rank) if value < 0 else value


class Chain:
    """Operators one after another, from one tensor of a node to the node's output."""

    def __init__(self, node: Node, start: str) -> None:
        self.node = node
        self.tensor = start
        self.operators: list[Operator] = []

    @property
    def shape(self) -> Shape:
        return self.node.shapes[self.tensor]

    def then(
        self,
        kind: str,
        shape: Iterable[int],
        suffix: str = "",
        *,
        inputs: tuple[str, ...] | None = None,
        attributes: Mapping[str, Any] | None = None,
        constants: Mapping[str, Array] | None = None,
        activation: Activation | None = None,
    ) -> Chain:
        """Append an operator with an output of this shape. suffix: distinguishes the operators of one node; main has none."""
        name = f"{self.node.name}/{suffix}" if suffix else self.node.name
        output = f"{self.node.output}/{suffix or 'main'}"
        self.operators.append(
            Operator(
                name=name,
                kind=kind,
                inputs=(self.tensor,) if inputs is None else inputs,
                output=output,
                attributes=attributes or {},
                constants={key: _floats(value) for key, value in (constants or {}).items()},
                activation=activation,
                nodes=(self.node.name,),
            )
        )
        self.node.shapes[output] = tuple(shape)
        self.tensor = output
        return self

    def view(self, op: str, shape: Iterable[int], suffix: str = "", **attributes: Any) -> Chain:
        return self.then("view", shape, suffix, attributes={"op": op, **attributes})

    def transpose(self, perm: tuple[int, ...], suffix: str = "") -> Chain:
        return self.view("transpose", (self.shape[p] for p in perm), suffix, perm=perm)

    def dense(self, weight: Array, bias: Array | None = None) -> Chain:
        """weight[O, K]"""
        import numpy as np

        if weight.shape[1] != self.shape[-1]:
            raise Misfit(f"reads {self.shape[-1]} features, its weight {weight.shape[1]}")
        bias = np.zeros(len(weight), np.float32) if bias is None else bias
        return self.then("dense", (*self.shape[:-1], len(weight)), constants={"weight": weight, "bias": bias})

    def end(self) -> list[Operator]:
        """The operators; the last one writes what the node writes."""
        got, wanted = self.shape, self.node.shapes[self.node.output]
        if got != wanted:
            raise Misfit(f"gives shape {list(got)}, but {list(wanted)} was inferred")
        del self.node.shapes[self.tensor]
        return [*self.operators[:-1], replace(self.operators[-1], output=self.node.output)]


Reader = Callable[[Node], list[Operator]]
READERS: dict[str, Reader] = {}
"""ONNX type -> its reader."""


def _reads(*types: str) -> Callable[[Reader], Reader]:
    def register(reader: Reader) -> Reader:
        READERS.update(dict.fromkeys(types, reader))
        return reader

    return register


def is_supported(node: ir.Node) -> bool:
    """Whether there is a reader for its type; the reader may still refuse the node."""
    domain = MINPOOL_DOMAIN if node.op_type == "MinPool" else ""
    return node.op_type in READERS and node.domain.removeprefix("ai.onnx") == domain


def read(node: Node) -> list[Operator]:
    """The operators of a node of a supported type, in order. Raises Unsupported."""
    if not is_supported(node.ir):
        raise Unsupported("is of a type that is not supported")
    for value in node.ir.outputs[1:]:
        if node.ir.op_type != "Split" and (value.uses() or value.is_graph_output()):
            raise Unsupported(f"is asked for its further output {value.name}")
    return READERS[node.ir.op_type](node)


def _floats(array: Array) -> Floats:
    import numpy as np

    if array.dtype == np.float32:
        return array
    if array.dtype.kind != "f":
        raise Unsupported(f"has a constant of type {array.dtype}; only float32 is computed")
    return array.astype(np.float32)


# ----------------------------------------------------------------------------------------------------- convolutions and pools


def _window(node: Node, kernel: tuple[int, ...], dilatable: bool = True) -> dict[str, Any]:
    """strides, pads and dilations in two dimensions, auto_pad resolved. kernel: as the node has it, one or two lengths."""
    rank = len(node.shape()) - 2
    if rank not in (1, 2) or len(kernel) != rank:
        raise Unsupported(f"works in {rank} dimensions; 1 and 2 are supported")
    strides = node.integers("strides") or (1,) * rank
    dilations = (node.integers("dilations") if dilatable else None) or (1,) * rank
    pads = node.integers("pads") or (0,) * (2 * rank)
    auto = node.text("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = (0,) * (2 * rank)
    elif auto != "NOTSET":
        pads = _same_pads(node, kernel, strides, dilations, lower=auto == "SAME_LOWER")
    if any(pad < 0 for pad in pads):
        raise Unsupported("has negative pads")
    if rank == 1:
        return {"strides": (1, *strides), "pads": (0, pads[0], 0, pads[1]), "dilations": (1, *dilations)}
    return {"strides": strides, "pads": pads, "dilations": dilations}


def _same_pads(node: Node, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], lower: bool) -> tuple[int, ...]:
    before, after = [], []
    for length, out, k, s, d in zip(node.shape()[2:], node.shapes[node.output][2:], kernel, strides, dilations, strict=True):
        total = max((out - 1) * s + (k - 1) * d + 1 - length, 0)
        small, large = total // 2, total - total // 2
        before.append(large if lower else small)
        after.append(small if lower else large)
    return (*before, *after)


@_reads("Conv")
def _conv(node: Node) -> list[Operator]:
    import numpy as np

    weight = node.weight(1, "weight")
    attributes = _window(node, weight.shape[2:])
    bias = node.weight(2, "bias") if node.has(2) else np.zeros(len(weight), np.float32)
    if weight.ndim == 3:
        weight = weight[:, :, None]
    group = attributes["group"] = node.flag("group", 1)
    if weight.shape[1] * group != node.shape()[1] or len(weight) % group or bias.shape != weight.shape[:1]:
        raise Misfit(
            f"reads {node.shape()[1]} channels with a weight of shape {list(weight.shape)}, {len(bias)} biases and {group} group(s)"
        )
    chain = Chain(node, node.input(0))
    return chain.then("conv", node.shapes[node.output], attributes=attributes, constants={"weight": weight, "bias": bias}).end()


@_reads("MaxPool", "AveragePool", "MinPool")
def _pool(node: Node) -> list[Operator]:
    op = {"MaxPool": "max", "AveragePool": "average", "MinPool": "min"}[node.ir.op_type]
    kernel = node.integers("kernel_shape") or ()
    attributes = {"op": op, **_window(node, kernel), "count_include_pad": bool(node.flag("count_include_pad"))}
    attributes["kernel"] = kernel if len(kernel) == 2 else (1, *kernel)
    return Chain(node, node.input(0)).then("pool", node.shapes[node.output], attributes=attributes).end()


@_reads("GlobalMaxPool", "GlobalAveragePool")
def _global_pool(node: Node) -> list[Operator]:
    size = node.shape()[2:]
    if len(size) not in (1, 2):
        raise Unsupported(f"works in {len(size)} dimensions; 1 and 2 are supported")
    attributes = _whole_map("max" if node.ir.op_type == "GlobalMaxPool" else "average", size)
    return Chain(node, node.input(0)).then("pool", node.shapes[node.output], attributes=attributes).end()


def _whole_map(op: str, size: Shape) -> dict[str, Any]:
    """Attributes of a pool over all rows and columns."""
    kernel = size if len(size) == 2 else (1, *size)
    return {"op": op, "kernel": kernel, "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "count_include_pad": False}


@_reads("BatchNormalization")
def _batch_normalization(node: Node) -> list[Operator]:
    import numpy as np

    if node.flag("training_mode"):
        raise Unsupported("is in training mode")
    if len(node.shape()) < 2:
        raise Unsupported("has an input without channels")
    gamma, beta, mean, variance = (
        node.weight(i, what).astype(np.float64) for i, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    if any(values.shape != node.shape()[1:2] for values in (gamma, beta, mean, variance)):
        raise Misfit(f"reads {node.shape()[1]} channels with {gamma.size} scales")
    scale = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
    constants = {"scale": scale.astype(np.float32), "shift": (beta - mean * scale).astype(np.float32)}
    return Chain(node, node.input(0)).then("affine", node.shape(), constants=constants).end()


# ------------------------------------------------------------------------------------------------------------------- products


@_reads("Gemm")
def _gemm(node: Node) -> list[Operator]:
    import numpy as np

    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    trans_a, trans_b = node.flag("transA"), node.flag("transB")
    b, c = node.constant(1), node.constant(2)
    columns = node.shapes[node.output][1]
    chain = Chain(node, node.input(0))
    if b is not None and node.constant(0) is None:
        if trans_a:
            chain.transpose((1, 0), "transpose")
        weight = _floats(b) if trans_b else np.ascontiguousarray(_floats(b).T)
        weight = weight if alpha == 1 else np.float32(alpha) * weight
        bias = None
        if c is not None and c.size in (1, columns) and c.reshape(-1, c.shape[-1] if c.ndim else 1).shape[0] == 1:
            bias = np.broadcast_to(np.float32(beta) * _floats(c).reshape(-1), (columns,))
        chain.dense(weight, bias)
        if bias is not None:
            return chain.end()
    else:
        names, constants = [], {}
        for index, transposed in ((0, trans_a), (1, trans_b)):
            name, array = node.input(index), node.constant(index)
            if array is not None:
                constants[name] = np.ascontiguousarray(array.T) if transposed else array
            elif transposed:
                chain.tensor = name
                name = chain.transpose((1, 0), f"transpose{'AB'[index]}").tensor
            names.append(name)
        chain.then("matmul", node.shapes[node.output], inputs=tuple(names), constants=constants)
        if alpha != 1:
            _scale(chain, alpha, "alpha")
    if node.has(2) and beta != 0:
        if c is not None:
            _combine(chain, "add", chain.tensor, node.input(2), {node.input(2): np.float32(beta) * _floats(c)}, "add")
        else:
            product, chain.tensor = chain.tensor, node.input(2)
            if beta != 1:
                _scale(chain, beta, "beta")
            _combine(chain, "add", product, chain.tensor, {}, "add")
    return chain.end()


@_reads("MatMul")
def _matmul(node: Node) -> list[Operator]:
    import numpy as np

    a, b = node.constant(0), node.constant(1)
    out = node.shapes[node.output]
    if b is not None and b.ndim <= 2:
        weight = np.ascontiguousarray(_floats(b).T) if b.ndim == 2 else _floats(b)[None]
        chain = Chain(node, node.input(0)).dense(weight)
        return (chain.view("reshape", out, "reshape") if b.ndim == 1 else chain).end()
    if a is not None and a.ndim <= 2 and len(node.shape(1)) > 1:
        rank = len(node.shape(1))
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        chain = Chain(node, node.input(1)).transpose(swapped, "transpose")
        chain.dense(_floats(a) if a.ndim == 2 else _floats(a)[None])
        return (chain.transpose(swapped, "transpose_back") if a.ndim == 2 else chain.view("reshape", out, "reshape")).end()
    constants = {node.input(i): array for i, array in enumerate((a, b)) if array is not None}
    return Chain(node, node.input(0)).then("matmul", out, inputs=(node.input(0), node.input(1)), constants=constants).end()


# --------------------------------------------------------------------------------------------------------------- element-wise


def _combine(chain: Chain, op: str, left: str, right: str, constants: Mapping[str, Array], suffix: str = "") -> Chain:
    """A binary operator that gives the shape of its broadcast inputs."""
    import numpy as np

    shapes = [constants[name].shape if name in constants else chain.node.shapes[name] for name in (left, right)]
    return chain.then("binary", np.broadcast_shapes(*shapes), suffix, inputs=(left, right), attributes={"op": op}, constants=constants)


def _scale(chain: Chain, factor: float, suffix: str = "") -> Chain:
    import numpy as np

    name = f"{chain.node.output}/{suffix or 'factor'}/constant"
    return _combine(chain, "mul", chain.tensor, name, {name: np.array(factor, np.float32)}, suffix)


@_reads("Add", "Sub", "Mul", "Div")
def _binary(node: Node) -> list[Operator]:
    constants = {node.input(i): array for i in (0, 1) if (array := node.constant(i)) is not None}
    return _combine(Chain(node, node.input(0)), node.ir.op_type.lower(), node.input(0), node.input(1), constants).end()


@_reads("Neg")
def _neg(node: Node) -> list[Operator]:
    return _scale(Chain(node, node.input(0)), -1.0).end()


def _activate(node: Node, activation: Activation) -> list[Operator]:
    return Chain(node, node.input(0)).then("activation", node.shape(), activation=activation).end()


@_reads("Relu", "Sigmoid", "Tanh")
def _plain_activation(node: Node) -> list[Operator]:
    return _activate(node, Activation(node.ir.op_type.lower()))


@_reads("HardSwish")
def _hard_swish(node: Node) -> list[Operator]:
    return _activate(node, Activation("hard_swish"))


@_reads("LeakyRelu")
def _leaky_relu(node: Node) -> list[Operator]:
    return _activate(node, Activation("leaky_relu", alpha=node.number("alpha", 0.01)))


@_reads("HardSigmoid")
def _hard_sigmoid(node: Node) -> list[Operator]:
    return _activate(node, Activation("hard_sigmoid", alpha=node.number("alpha", 0.2), beta=node.number("beta", 0.5)))


@_reads("Clip")
def _clip(node: Node) -> list[Operator]:
    low, high = node.number("min", float("-inf"), 1), node.number("max", float("inf"), 2)
    return _activate(node, Activation("clip", low=low, high=high))


@_reads("Softmax", "LogSoftmax")
def _softmax(node: Node) -> list[Operator]:
    shape, log = node.shape(), node.ir.op_type == "LogSoftmax"
    axis = node.axis(node.flag("axis", -1 if node.opset >= 13 else 1))
    chain = Chain(node, node.input(0))
    if node.opset >= 13 or axis == len(shape) - 1:
        return chain.then("softmax", shape, attributes={"axis": axis, "log": log}).end()
    # before operator set 13: over all axes from `axis` on, together
    flat = (_product(shape[:axis]), _product(shape[axis:]))
    chain.view("reshape", flat, "flatten").then("softmax", flat, attributes={"axis": 1, "log": log})
    return chain.view("reshape", shape, "reshape").end()


@_reads("ReduceMean")
def _reduce_mean(node: Node) -> list[Operator]:
    rank = len(node.shape())
    axes = node.integers("axes", 1) or ()
    if not axes and node.flag("noop_with_empty_axes"):
        return _reshape(node)
    axes = tuple(sorted({node.axis(a) for a in axes})) or tuple(range(rank))
    shape = node.shape()
    if rank in (3, 4) and axes == tuple(range(2, rank)):  # global average pooling by another name
        pooled = (*shape[:2], *(1,) * len(axes))
        chain = Chain(node, node.input(0)).then("pool", pooled, attributes=_whole_map("average", shape[2:]))
        return chain.end() if node.flag("keepdims", 1) else chain.view("reshape", shape[:2], "reshape").end()
    attributes = {"axes": axes, "keepdims": bool(node.flag("keepdims", 1))}
    return Chain(node, node.input(0)).then("reduce_mean", node.shapes[node.output], attributes=attributes).end()


# ---------------------------------------------------------------------------------------------------------------------- views


def _product(lengths: Iterable[int]) -> int:
    size = 1
    for length in lengths:
        size *= length
    return size


@_reads("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast")
def _reshape(node: Node) -> list[Operator]:
    before, after = node.shape(), node.shapes[node.output]
    if node.ir.op_type == "Dropout" and node.has(2):
        raise Unsupported("is in training mode")
    if _product(before) != _product(after):
        raise Misfit(f"turns shape {list(before)} into {list(after)}: not the same number of elements")
    return Chain(node, node.input(0)).view("reshape", after).end()


@_reads("Expand")
def _expand(node: Node) -> list[Operator]:
    return Chain(node, node.input(0)).view("expand", node.shapes[node.output]).end()


@_reads("Transpose")
def _transpose(node: Node) -> list[Operator]:
    perm = node.integers("perm") or tuple(reversed(range(len(node.shape()))))
    return Chain(node, node.input(0)).transpose(perm).end()


@_reads("Concat")
def _concat(node: Node) -> list[Operator]:
    inputs = tuple(node.input(i) for i in range(len(node.ir.inputs)))
    constants = {name: array for i, name in enumerate(inputs) if (array := node.constant(i)) is not None}
    out = node.shapes[node.output]
    attributes = {"op": "concat", "axis": node.axis(node.flag("axis", 1), len(out))}
    return Chain(node, inputs[0]).then("view", out, inputs=inputs, attributes=attributes, constants=constants).end()


@_reads("Slice")
def _slice(node: Node) -> list[Operator]:
    shape = node.shape()
    starts, ends = node.integers("starts", 1) or (), node.integers("ends", 2) or ()
    axes = node.integers("axes", 3) or tuple(range(len(starts)))
    steps = node.integers("steps", 4) or (1,) * len(starts)
    slices = [(0, length, 1) for length in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        length = shape[node.axis(axis)]
        first, last, _ = slice(start, end, step).indices(length)
        slices[node.axis(axis)] = (first, last if last >= 0 else -length - 1, step)  # -length - 1: before the first
    out = (len(range(*slice(*s).indices(length))) for s, length in zip(slices, shape, strict=True))
    return Chain(node, node.input(0)).view("slice", out, slices=tuple(slices)).end()


@_reads("Split")
def _split(node: Node) -> list[Operator]:
    axis, start, operators = node.axis(node.flag("axis")), 0, []
    for index, value in enumerate(node.ir.outputs):
        out = node.shapes[value.name or ""]
        slices = [(0, length, 1) for length in node.shape()]
        slices[axis] = (start, start + out[axis], 1)
        start += out[axis]
        if value.uses() or value.is_graph_output():
            part = Chain(node, node.input(0)).view("slice", out, str(index), slices=tuple(slices))
            del node.shapes[part.tensor]
            operators.append(replace(part.operators[0], output=value.name or ""))
    return operators


@_reads("Pad")
def _pad(node: Node) -> list[Operator]:
    shape = node.shape()
    pads = node.integers("pads", 1) or ()
    axes = [node.axis(a) for a in node.integers("axes", 3) or range(len(shape))]
    sides = [(0, 0)] * len(shape)
    for index, axis in enumerate(axes):
        sides[axis] = (pads[index], pads[index + len(axes)])
    if any(side < 0 for pair in sides for side in pair):
        raise Unsupported("has negative pads")
    value = node.number("value", 0.0, 2)
    out = (before + length + after for length, (before, after) in zip(shape, sides, strict=True))
    return Chain(node, node.input(0)).view("pad", out, pads=tuple(sides), mode=node.text("mode", "constant"), value=value).end()
