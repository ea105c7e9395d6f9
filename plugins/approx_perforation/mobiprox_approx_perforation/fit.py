"""How a skipped line follows from its neighbours, so that it is what it was on calibration inputs.

Least squares, in closed form, per skipped line and channel. With b and a the lines before and after, y the skipped
line, all without their means over inputs and positions:

    error(u, v) = |y - u b - v a|^2 + ridge ((u - 1/2)^2 + (v - 1/2)^2),    ridge = RIDGE * (|b|^2 + |a|^2) / 2

What is added makes up for the means. Weights below 1/2 come out where neighbours tell little: then the mean is the better guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .knobs import skipped
from .reference import neighbours

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

VERSION = 1
"""Of what is computed here; part of the key under which results are kept."""

RIDGE = 1e-2
"""Neighbours resemble each other, so little tells their weights apart."""


def fill(outputs: Floats, axis: str, stride: int, offset: int) -> Floats:
    """float32[S, 3, O]: for each skipped line and channel the weights of the lines before and after, and what is added.

    outputs: float32[N, O, H, W], exact, before residual and activation.
    """
    y = np.moveaxis(outputs, 2 if axis == "rows" else 3, 0)  # [L, N, O, ...]
    wanted, before, after = (y[which].astype(np.float64) for which in neighbours(len(y), skipped(len(y), stride, offset)))
    means = [values.mean((1, 3)) for values in (before, after, wanted)]
    b, a, t = (values - mean[:, None, :, None] for values, mean in zip((before, after, wanted), means, strict=True))

    def product(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.einsum("lnop,lnop->lo", p, q))

    bb, aa, ab = product(b, b), product(a, a), product(a, b)
    ridge = RIDGE * (bb + aa) / 2
    ridge[ridge <= 0] = 1  # what never changes
    bb, aa, bt, at = bb + ridge, aa + ridge, product(b, t) + ridge / 2, product(a, t) + ridge / 2
    determinant = bb * aa - ab**2
    first, second = (aa * bt - ab * at) / determinant, (bb * at - ab * bt) / determinant
    return np.stack([first, second, means[2] - first * means[0] - second * means[1]], axis=1).astype(np.float32)
