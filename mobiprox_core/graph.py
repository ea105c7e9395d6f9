"""The network as operators: what techniques look at and what lowering consumes.

A `Network` holds the simplified ONNX model with its batch axis free; `Network.at_batch(n)` gives the `Graph` of operators with
static shapes. Exact meaning of everything here is ONNX's own (`onnx.reference.ReferenceEvaluator`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .configuration import OpId

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name and static shape of a float32 tensor; axis 0 is the batch where there is one."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Activation:
    """An element-wise function at the end of an operator.

    kind: relu, clip (low, high), leaky_relu (alpha), sigmoid, tanh, hard_sigmoid (alpha, beta) or hard_swish.
    """

    kind: str
    alpha: float = 0.0
    beta: float = 0.0
    low: float = float("-inf")
    high: float = float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One ONNX node, or a fused group: convolution + bias + residual add + activation.

    inputs: names of what it reads, in ONNX order; a name found in `constants` is a constant, the others are activations.
    residual: activation added to the result before the activation function (same shape as the output), or None.
    nodes: names of the ONNX nodes that it covers.

    ============  =====================================================================================================
    kind          constants and attributes
    ============  =====================================================================================================
    conv          weight[O, C/group, KH, KW], bias[O]; strides (h, w), pads (top, left, bottom, right), dilations (h, w),
                  group. A 1-D convolution has KH = 1 and reads [N, C, L] as [N, C, 1, L].
    dense         weight[O, K], bias[O]; reads [..., K], gives [..., O]
    matmul        two activations, ONNX MatMul semantics (broadcast over leading axes); one may be a constant
    binary        op: add, sub, mul, div; NumPy broadcasting; at most one input is a constant
    affine        scale[C], shift[C]: y = scale * x + shift along axis 1 (a normalisation that could not be folded)
    activation    only `activation` is set
    pool          op: max, min, average; kernel, strides, pads, dilations as conv; count_include_pad (bool).
                  Global pooling is a kernel of the whole map. The output shape already honours ceil_mode.
    softmax       axis, log (bool)
    reduce_mean   axes (non-negative), keepdims (bool)
    view          moves elements without arithmetic. op: reshape (also flatten, squeeze, unsqueeze, identity), transpose
                  (perm), slice (slices: one (start, stop, step) per axis, as Python's `slice` takes them), concat
                  (axis; some inputs may be constants), pad (pads: one (before, after) per axis, mode as `numpy.pad`, value), expand
    ============  =====================================================================================================
    """

    name: OpId
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    activation: Activation | None = None
    residual: str | None = None
    nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    @property
    def reads(self) -> tuple[str, ...]:
        """The activations it reads, residual last."""
        names = tuple(name for name in self.inputs if name not in self.constants)
        return names if self.residual is None else (*names, self.residual)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network at one batch size. Operators stand in an order in which they can run."""

    name: str
    batch: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]
    tensors: Mapping[str, TensorSpec]

    def __getitem__(self, op: OpId) -> Operator:
        return next(o for o in self.operators if o.name == op)

    def shape(self, tensor: str) -> Shape:
        return self.tensors[tensor].shape

    def macs(self, op: Operator) -> int:
        """Multiply-adds per inference (per image) of one operator; 0 for what does not multiply."""
        out = self.shape(op.output)
        size = 1
        for length in out[1:] if len(out) > 1 else out:
            size *= length
        if op.kind == "conv":
            weight = op.constants["weight"]
            return int(size * weight[0].size)
        if op.kind == "dense":
            return int(size * op.constants["weight"].shape[1])
        return 0
