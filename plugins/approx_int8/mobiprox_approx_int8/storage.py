"""How an operator's numbers lie in memory in 8-bit integers, and which multiply-adds a device has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobiprox_core.plan import DeviceInfo
from mobiprox_core.tables import Form, Storage, Tables

from .grid import LARGEST, PAIRED, Grid, codes, found_steps, steps

if TYPE_CHECKING:
    import numpy.typing as npt

    from mobiprox_core.graph import Operator

    Floats = npt.NDArray[np.float32]

OFF = 1e-3
"""Steps by which a weight may miss a whole number and still count as rounded."""


def body(device: DeviceInfo) -> str:
    """What multiplies and adds four products at once: vnni, madd (AVX2 and AVX-512 without VNNI), dot_product (an OpenCL extension), or plain C."""
    if "avx512_vnni" in device.features:
        return "vnni"
    if device.isa in ("avx2", "avx512"):
        return "madd"
    return "dot_product" if "cl_khr_integer_dot_product" in device.features and device.vector == 4 else "plain"


def form(grid: Grid) -> Form:
    return Form("bytes", "uchar", 1, "write_bytes", "read_bytes", grid.parameters, zero_is_zero=grid.zero == 0)


def storage(operator: Operator, device: DeviceInfo, top: int, largest: int) -> Storage:
    """Four neighbouring elements a multiply-add; where filters see one channel each, one element, in floats that hold integers. top, largest: of
    an activation and of a weight.
    """
    weight = operator.constants["weight"]
    if operator.kind == "conv" and operator["group"] == len(weight) > 1 and weight.shape[1] == 1:
        return DEPTHWISE
    return SATURATING if body(device) == "madd" and (top <= LARGEST or largest <= PAIRED) else QUADS


def pack(weight: Floats) -> npt.NDArray[Any]:
    """Four signed bytes in one int32, the first in the lowest byte; [...] of float32 [..., 4]."""
    words = np.ascontiguousarray(weight.astype(np.int8).view(np.uint8)).astype(np.uint32)
    return np.asarray(words[..., 0] | words[..., 1] << 8 | words[..., 2] << 16 | words[..., 3] << 24).astype(np.uint32).view(np.int32)


_BYTES = (
    ("X_TYPE", "uchar"),
    ("LOAD_X(p)", "FOUR_BYTES(p)"),
    ("W_TYPE", "int"),
    ("LOAD_W(p)", "(*(global const IVEC *)(p))"),
    ("SCALAR", "int"),
    ("ACC", "IVEC"),
    ("TO_VEC(c)", "CONVERT(c, VEC)"),
)
QUADS = Storage("int8", 4, (*_BYTES, ("ACCUMULATE(c, x, w)", "DOT4(c, x, w)")), pack)
SATURATING = Storage("int8_of_7_bits", 4, (*_BYTES, ("ACCUMULATE(c, x, w)", "DOT4_OF_7_BITS(c, x, w)")), pack)
"""For activations or weights of 7 bits: pairs of products are summed in 16 bits, which more could overflow."""
DEPTHWISE = Storage("int8_depthwise", 1, (("X_TYPE", "uchar"), ("LOAD_V(p)", "VECTOR_OF_BYTES(p)")))


def encoding(grid: Grid, step: Floats, largest: int) -> Callable[[Tables], Tables]:
    """The last edit: from rounded weights to integers, the scale that makes up for it, and the bias that takes out the zero point."""

    def encode(tables: Tables) -> Tables:
        own, integers = step, codes(tables.weight, step, largest)
        if np.abs(integers * own[:, None] - tables.weight).max(initial=0) > OFF * own.max():  # a correction put others in their place
            own = found_steps(tables.weight, largest)
            integers = codes(tables.weight, own, largest)
        scale = grid.scale * own * (1 if tables.scale is None else tables.scale)
        bias = tables.bias - grid.zero * scale * integers.sum(1)
        return replace(tables, weight=integers, scale=scale.astype(np.float32), bias=bias.astype(np.float32))

    return encode


# -- weights alone


def pack_nibbles(weight: Floats) -> npt.NDArray[Any]:
    """Two signed halves in one byte, the first in the lower half; int8 [...] of float32 [..., 2]."""
    halves = weight.astype(np.int8).view(np.uint8)
    return np.asarray((halves[..., 0] & 15) | (halves[..., 1] << 4)).astype(np.uint8).view(np.int8)


SIGNED_BYTES = Storage(
    "signed_bytes", 1, (("W_TYPE", "char"), ("LOAD_W(p)", "SIGNED_BYTES(p)")), lambda weight: weight[..., 0].astype(np.int8)
)
NIBBLES = Storage(
    "nibbles",
    2,
    (
        ("LOAD_X(p)", "(float2)((p)[0], (p)[1])"),
        ("SCALAR", "float2"),
        ("W_TYPE", "char"),
        ("WEIGHTS", "IVEC"),
        ("LOAD_W(p)", "NIBBLES(p)"),
        ("ACCUMULATE(c, x, w)", "nibbles(c, (x).s0, (x).s1, w)"),
    ),
    pack_nibbles,
)


def integers(tables: Tables, largest: int) -> Tables:
    """The last edit: rounded weights as integers, and the scale that makes up for it."""
    step = steps(tables.weight, largest)
    return replace(
        tables, weight=codes(tables.weight, step, largest), scale=step if tables.scale is None else (step * tables.scale).astype(np.float32)
    )
