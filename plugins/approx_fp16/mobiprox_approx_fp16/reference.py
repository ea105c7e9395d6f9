"""What half precision means, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def round_to_half(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The nearest IEEE half, ties to even, as float32. Above 65519.99 infinite; subnormals (below 2**-14) are kept."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)


def round_to_brain(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The nearest bfloat16, ties to even, as float32: 8 significant bits. Infinite from 3.3961776e38 up; NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, rounded.view(np.float32)).astype(np.float32)
