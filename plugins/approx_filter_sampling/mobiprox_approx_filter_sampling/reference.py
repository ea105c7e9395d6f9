"""What filter sampling means, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .knobs import Filter, skipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


def sample_filter(weight: Floats, stride: int, offset: int, pattern: str = "runtime", granule: int = 1) -> Floats:
    """Zero in place of the skipped elements, the others multiplied by stride / (stride - 1).

    weight: float32[O, C, KH, KW], or [O, K] of a dense layer. The same elements are skipped in every output filter. Unchanged
    where nothing, or nothing else than everything, would be skipped.
    """
    elements = skipped(Filter.of(weight), stride, offset, pattern, granule)
    if not elements:
        return weight
    flat = weight.reshape(len(weight), -1) * factor(stride)
    flat[:, elements] = 0
    return flat.reshape(weight.shape)


def factor(stride: int) -> np.float32:
    """What the kept elements are multiplied by: 2, 3/2, 4/3, ... The nominal ratio, not the number kept: it is the paper's."""
    return np.float32(stride / (stride - 1))


def scattered(taps: npt.NDArray[Any], weight: Floats, shape: Sequence[int]) -> Floats:
    """Weights float32[O, T] of these elements in a filter of a shape [O, ...], zero elsewhere."""
    flat = np.zeros((shape[0], int(np.prod(shape[1:]))), np.float32)
    flat[:, taps] = weight
    return flat.reshape(shape)
