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
