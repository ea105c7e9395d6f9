"""How an operator's numbers lie in memory under half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mobiprox_core.tables import Storage

if TYPE_CHECKING:
    import numpy.typing as npt


def pack(weight: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The nearest halves, as bits; uint16 of the same shape."""
    with np.errstate(over="ignore"):
        return weight.astype(np.float16).view(np.uint16)


# Without half arithmetic, weights are widened as they are read. Inputs are read many times each, so they are rounded once and
# stay float32: widening them at every read would cost more than the narrower loads save.
STORAGE = Storage(
    name="float16",
    weight_bytes=2,
    defines=(("W_TYPE", "ushort"), ("LOAD_W(p)", "vector_from_half(p)")),
    pack=pack,
    convert="half_round",
    finish="half_finish",
)

ARITHMETIC = Storage(
    name="float16_arithmetic",
    input_bytes=2,
    weight_bytes=2,
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
    convert="half_convert",
    finish="half_finish",
)
