"""Operators in, fewer operators out: what follows a convolution or dense layer becomes part of it.

Each rule looks at one operator and at the producers that only it reads, and returns the operator that does the work of all. A fused
operator stands where its last part stood, so everything it reads is there by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .graph import Operator, Shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ACTIVATED = ("conv", "dense", "binary", "affine")
_WEIGHTED = ("conv", "dense")


def fuse(operators: Iterable[Operator], shapes: Mapping[str, Shape], outputs: Iterable[str]) -> tuple[Operator, ...]:
    """The same computation in fewer operators. outputs: tensors that must survive."""
    kept = tuple(outputs)
    for rules in ((_minimum_pool,), (_channel_constants, _residual, _activation)):
        operators = _apply(rules, tuple(operators), shapes, kept)
    return tuple(operators)


@dataclass(slots=True)
class _Sofar:
    """The operators up to now, by output, in order."""

    operators: dict[str, Operator]
    uses: Counter[str]
    shapes: Mapping[str, Shape]

    def producer(self, tensor: str) -> Operator | None:
        """What computes a tensor that is read once only."""
        return self.operators.get(tensor) if self.uses[tensor] == 1 else None

    def place(self, operator: Operator) -> int:
        return list(self.operators).index(operator.output)


_Fusion = tuple[Operator, tuple[Operator, ...]]  # the fused operator, and those it replaces
_Rule = Callable[[Operator, _Sofar], _Fusion | None]


def _apply(
    rules: tuple[_Rule, ...], operators: tuple[Operator, ...], shapes: Mapping[str, Shape], outputs: tuple[str, ...]
) -> tuple[Operator, ...]:
    sofar = _Sofar({}, Counter([*outputs, *(name for op in operators for name in op.reads)]), shapes)
    for operator in operators:
        fusion = next((f for rule in rules if (f := rule(operator, sofar)) is not None), None)
        fused, replaced = fusion or (operator, ())
        for old in replaced:
            del sofar.operators[old.output]
        sofar.operators[fused.output] = fused
    return tuple(sofar.operators.values())


def _minimum_pool(operator: Operator, sofar: _Sofar) -> _Fusion | None:
    """-max(-x) is the minimum of x."""
    pool = sofar.producer(operator.inputs[0]) if _negates(operator) else None
    if pool is None or pool.kind != "pool" or pool["op"] != "max":
        return None
    negation = sofar.producer(pool.inputs[0])
    if negation is None or not _negates(negation):
        return None
    nodes = (*negation.nodes, *pool.nodes, *operator.nodes)
    attributes = {**pool.attributes, "op": "min"}
    return replace(pool, inputs=negation.inputs[:1], output=operator.output, attributes=attributes, nodes=nodes), (negation, pool)


def _negates(operator: Operator) -> bool:
    return (
        operator.kind == "binary"
        and operator["op"] == "mul"
        and operator.inputs[0] not in operator.constants
        and any(c.size == 1 and c.flat[0] == -1 for c in operator.constants.values())
    )


def _channel_constants(operator: Operator, sofar: _Sofar) -> _Fusion | None:
    """A scale and a shift per channel go into the weights before them."""
    import numpy as np

    if len(operator.reads) != 1 or operator.kind not in ("affine", "binary"):
        return None
    producer = sofar.producer(operator.reads[0])
    if producer is None or producer.kind not in (*_WEIGHTED, "affine") or producer.activation or producer.residual:
        return None
    shape = sofar.shapes[producer.output]
    axis = len(shape) - 1 if producer.kind == "dense" else 1
    change = _scale_and_shift(operator, shape, axis) if sofar.shapes[operator.output] == shape else None
    if change is None:
        return None
    scale, shift = change
    weight, bias = ("scale", "shift") if producer.kind == "affine" else ("weight", "bias")
    old = producer.constants[weight].astype(np.float64)
    constants = {
        weight: (old * scale.reshape(-1, *(1,) * (old.ndim - 1))).astype(np.float32),
        bias: (producer.constants[bias] * scale + shift).astype(np.float32),
    }
    nodes = (*producer.nodes, *operator.nodes)
    return replace(producer, output=operator.output, constants=constants, nodes=nodes), (producer,)


def _scale_and_shift(operator: Operator, shape: Shape, axis: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """float64[C] each, C the length of `axis`; None where the operator does something else."""
    import numpy as np

    channels = shape[axis]
    one, zero = np.ones(channels), np.zeros(channels)
    if operator.kind == "affine":
        if axis != 1:
            return None
        return operator.constants["scale"].astype(np.float64), operator.constants["shift"].astype(np.float64)
    (name, constant), *_ = operator.constants.items()
    lengths = (1,) * (len(shape) - constant.ndim) + constant.shape
    if any(length != 1 for i, length in enumerate(lengths) if i != axis):
        return None
    value = np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))
    constant_first = operator.inputs[0] == name
    match operator["op"]:
        case "add":
            return one, value
        case "sub":
            return (-one, value) if constant_first else (one, -value)
        case "mul":
            return value, zero
        case _:
            return None if constant_first or not np.all(value) else (1 / value, zero)


def _residual(operator: Operator, sofar: _Sofar) -> _Fusion | None:
    """An addition goes into the later of the convolutions or dense layers that it adds."""
    if operator.kind != "binary" or operator["op"] != "add" or len(set(operator.reads)) != 2:
        return None
    left, right = operator.reads
    if sofar.shapes[left] != sofar.shapes[right]:
        return None
    candidates = [
        (sofar.place(producer), producer, other)
        for tensor, other in ((left, right), (right, left))
        if (producer := sofar.producer(tensor)) and producer.kind in _WEIGHTED and not producer.activation and not producer.residual
    ]
    if not candidates:
        return None
    _, producer, other = max(candidates, key=lambda candidate: candidate[0])
    nodes = (*producer.nodes, *operator.nodes)
    return replace(producer, output=operator.output, residual=other, nodes=nodes), (producer,)


def _activation(operator: Operator, sofar: _Sofar) -> _Fusion | None:
    """An activation goes to the end of what computes its input."""
    producer = sofar.producer(operator.inputs[0]) if operator.kind == "activation" else None
    if producer is None or producer.kind not in _ACTIVATED or producer.activation:
        return None
    nodes = (*producer.nodes, *operator.nodes)
    return replace(producer, output=operator.output, activation=operator.activation, nodes=nodes), (producer,)
