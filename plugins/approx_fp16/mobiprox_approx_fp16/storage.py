"""How an operator's numbers lie in memory under half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mobiprox_core.tables import Form, Storage

from .reference import round_to_brain

if TYPE_CHECKING:
    import numpy.typing as npt


def pack(weight: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The nearest halves, as bits; uint16 [...] of float32 [..., 1]."""
    with np.errstate(over="ignore"):
        return weight[..., 0].astype(np.float16).view(np.uint16)


# Without half arithmetic, weights are widened as they are read. Inputs are read many times each, so they are rounded once and
# stay float32: widening them at every read would cost more than the narrower loads save.
STORAGE = Storage(
    name="float16",
    defines=(("W_TYPE", "ushort"), ("LOAD_W(p)", "vector_from_half(p)")),
    pack=pack,
    finish="half_finish",
)
ROUNDED = Form("rounded_to_half", "float", 4, "write_rounded_to_half", "read_float")

ARITHMETIC = Storage(
    name="float16_arithmetic",
    defines=(
        ("X_TYPE", "half"),
        ("LOAD_V(p)", "VECTOR_OF_HALVES(p)"),
        ("W_TYPE", "half"),
        ("LOAD_W(p)", "VECTOR_OF_HALVES(p)"),
        ("SCALAR", "half"),
        ("ACC", "HALVES"),
        ("TO_VEC(c)", "WIDEN(c, VEC)"),
    ),
    pack=pack,
    finish="half_finish",
)
HALVES = Form("half", "half", 2, "write_halves", "read_halves")


def pack_brains(weight: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Two bfloat16 in one int32, the first in the lower half; [...] of float32 [..., 2]."""
    upper = round_to_brain(weight).view(np.uint32) >> 16
    return (upper[..., 0] | upper[..., 1] << 16).astype(np.uint32).view(np.int32)


BRAIN = Storage(
    name="bfloat16",
    granule=2,
    defines=(
        ("X_TYPE", "ushort"),
        ("LOAD_X(p)", "TWO_BRAINS(p)"),
        ("W_TYPE", "int"),
        ("LOAD_W(p)", "(*(global const IVEC *)(p))"),
        ("SCALAR", "int"),
        ("WEIGHTS", "IVEC"),
        ("ACCUMULATE(c, x, w)", "DOT2(c, x, w)"),
    ),
    pack=pack_brains,
)
BRAIN_DEPTHWISE = Storage(
    name="bfloat16_depthwise",
    defines=(("X_TYPE", "ushort"), ("LOAD_V(p)", "vector_of_brains(p)")),
    pack=lambda weight: round_to_brain(weight[..., 0]),
)
BRAINS = Form("bfloat16", "ushort", 2, "write_brains", "read_brains")
