"""Small graphs for tests: one convolution or dense layer with random weights, of ordinary and of awkward shapes.

Inputs are called ``x`` and, where a residual is added, ``r``; the output is ``y``, and the operator that matters ``op``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mobiprox_core.graph import Activation, Graph, Operator, Shape, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

RELU = Activation("relu", low=0.0)
TANH = Activation("tanh")


def convolution(
    *,
    batch: int = 1,
    channels: int = 3,
    filters: int = 8,
    size: tuple[int, ...] = (9, 8),
    kernel: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
    activation: Activation | None = None,
    residual: bool = False,
    seed: int = 0,
) -> Graph:
    """One convolution. size: (H, W) of the input, or (L,) for a 1-D convolution, whose kernel has height 1.

    pads: top, left, bottom, right. Weights are scaled so that outputs have about unit variance.
    """
    rows, columns = size if len(size) == 2 else (1, size[0])
    span = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    height = (rows + pads[0] + pads[2] - span[0]) // strides[0] + 1
    width = (columns + pads[1] + pads[3] - span[1]) // strides[1] + 1
    rng = np.random.default_rng(seed)
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    weight = _weights(rng, (filters, channels // group, *kernel))
    out = (batch, filters, height, width) if len(size) == 2 else (batch, filters, width)
    return _single("conv", (batch, channels, *size), out, attributes, weight, rng, activation, residual)


def dense(
    *,
    rows: Shape = (1,),
    features: int = 19,
    outputs: int = 7,
    activation: Activation | None = None,
    residual: bool = False,
    seed: int = 0,
) -> Graph:
    """One dense layer: [*rows, features] to [*rows, outputs]; rows[0] is the batch."""
    rng = np.random.default_rng(seed)
    weight = _weights(rng, (outputs, features))
    return _single("dense", (*rows, features), (*rows, outputs), {}, weight, rng, activation, residual)


def identity_block(*, batch: int = 1, channels: int = 19, size: tuple[int, int] = (7, 6), activation: Activation | None = RELU) -> Graph:
    """A residual block: op(t) + t with t = relu(x). What is added then lies in memory with the border that the convolution reads."""
    graph = convolution(batch=batch, channels=channels, filters=channels, size=size, activation=activation)
    x = graph.tensors["x"]
    t = TensorSpec("t", x.shape)
    before = Operator(name="before", kind="activation", inputs=("x",), output="t", activation=RELU, nodes=("before",))
    op = replace(graph["op"], inputs=("t", "weight", "bias"), residual="t")
    return replace(graph, operators=(before, op), tensors={**graph.tensors, "t": t})


def joined(
    *, batch: int = 1, channels: tuple[int, int] = (16, 19), size: tuple[int, int] = (7, 6), activation: Activation | None = TANH
) -> Graph:
    """Two convolutions of one input, `left` and `right`, and op, which reads both, one behind the other; channels: of the two."""
    tensors = {"x": TensorSpec("x", (batch, 8, *size)), "t": TensorSpec("t", (batch, sum(channels), *size))}
    operators = []
    sources = (("left", "x", channels[0], 1, (1, 1)), ("right", "x", channels[1], 2, (3, 3)), ("op", "t", 20, 3, (3, 3)))
    for name, source, filters, seed, kernel in sources:
        pads = (kernel[0] // 2,) * 4
        before = tensors[source].shape[1]
        made = convolution(
            batch=batch, channels=before, filters=filters, size=size, kernel=kernel, pads=pads, activation=activation, seed=seed
        )
        output = "y" if name == "op" else name
        tensors[output] = TensorSpec(output, made.outputs[0].shape)
        operators.append(replace(made["op"], name=name, inputs=(source, "weight", "bias"), output=output))
    operators.insert(2, Operator("join", "view", ("left", "right"), "t", {"op": "concat", "axis": 1}))
    return Graph("joined", batch, (tensors["x"],), (tensors["y"],), tuple(operators), tensors)


def inputs(graph: Graph, seed: int = 0) -> tuple[Floats, ...]:
    """Normally distributed float32 inputs of a graph's shapes."""
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=spec.shape).astype(np.float32) for spec in graph.inputs)


def _weights(rng: np.random.Generator, shape: Shape) -> Floats:
    return np.asarray(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])), np.float32)


def _single(
    kind: str,
    read: Shape,
    written: Shape,
    attributes: Mapping[str, object],
    weight: Floats,
    rng: np.random.Generator,
    activation: Activation | None,
    residual: bool,
) -> Graph:
    specs = [TensorSpec("x", read), *([TensorSpec("r", written)] if residual else [])]
    output = TensorSpec("y", written)
    operator = Operator(
        name="op",
        kind=kind,
        inputs=("x", "weight", "bias"),
        output="y",
        attributes=attributes,
        constants={"weight": weight, "bias": rng.normal(size=len(weight)).astype(np.float32)},
        activation=activation,
        residual="r" if residual else None,
        nodes=("op",),
    )
    return Graph(
        name="single",
        batch=read[0],
        inputs=tuple(specs),
        outputs=(output,),
        operators=(operator,),
        tensors={spec.name: spec for spec in (*specs, output)},
    )


AWKWARD: Mapping[str, Callable[[], Graph]] = MappingProxyType(
    {
        "plain": lambda: convolution(channels=16, filters=16, size=(12, 12)),
        "stride 2, odd channels": lambda: convolution(channels=3, filters=19, size=(11, 10), strides=(2, 2), activation=RELU),
        "strides differ": lambda: convolution(channels=5, filters=6, size=(9, 13), strides=(1, 3), activation=TANH),
        "asymmetric pads": lambda: convolution(channels=19, filters=45, size=(6, 7), pads=(0, 1, 2, 0)),
        "no pads": lambda: convolution(channels=4, filters=3, size=(7, 6), pads=(0, 0, 0, 0)),
        "pointwise": lambda: convolution(channels=45, filters=3, size=(7, 5), kernel=(1, 1), pads=(0, 0, 0, 0), activation=RELU),
        "even kernel": lambda: convolution(channels=6, filters=20, size=(8, 8), kernel=(4, 2), pads=(1, 0, 2, 1)),
        "one row": lambda: convolution(channels=3, filters=17, size=(3, 14), pads=(0, 1, 0, 1)),
        "one column": lambda: convolution(channels=19, filters=4, size=(11, 3), pads=(1, 0, 1, 0), residual=True),
        "one pixel": lambda: convolution(channels=33, filters=18, size=(3, 3), pads=(0, 0, 0, 0)),
        "two by two": lambda: convolution(channels=7, filters=9, size=(2, 2)),
        "grouped": lambda: convolution(channels=12, filters=18, size=(7, 7), group=3, activation=RELU),
        "depthwise": lambda: convolution(channels=19, filters=19, size=(9, 9), group=19, strides=(2, 1), activation=RELU),
        "depthwise, two filters a channel": lambda: convolution(channels=5, filters=10, size=(8, 6), group=5),
        "depthwise, residual": lambda: convolution(channels=32, filters=32, size=(7, 8), group=32, activation=TANH, residual=True),
        "dilated": lambda: convolution(channels=8, filters=8, size=(10, 11), pads=(2, 2, 2, 2), dilations=(2, 2)),
        "one-dimensional": lambda: convolution(
            channels=19, filters=21, size=(23,), kernel=(1, 5), strides=(1, 2), pads=(0, 2, 0, 1), activation=RELU
        ),
        "one-dimensional, depthwise": lambda: convolution(
            channels=6, filters=6, size=(17,), kernel=(1, 3), pads=(0, 1, 0, 1), group=6, residual=True
        ),
        "three images, residual and ReLU": lambda: convolution(
            batch=3, channels=16, filters=45, size=(8, 9), activation=RELU, residual=True
        ),
        "three images, residual and tanh": lambda: convolution(
            batch=3, channels=3, filters=16, size=(7, 7), activation=TANH, residual=True
        ),
        "three images, depthwise": lambda: convolution(batch=3, channels=3, filters=3, size=(6, 9), group=3),
        "residual block": identity_block,
        "residual block, three images": lambda: identity_block(batch=3, channels=33, size=(5, 8), activation=TANH),
        "reads two tensors as one": joined,
        "reads two tensors as one, three images": lambda: joined(batch=3, channels=(32, 16), activation=RELU),
        "dense": lambda: dense(features=45, outputs=19),
        "dense, three images": lambda: dense(rows=(3,), features=64, outputs=32, activation=RELU),
        "dense, one feature": lambda: dense(rows=(3,), features=1, outputs=3, activation=TANH),
        "dense over a sequence": lambda: dense(rows=(3, 5), features=19, outputs=17, residual=True),
    }
)
"""Graphs that a technique must get right, by what is awkward about them."""
