"""The numbers that 8 bits can hold: grids for activations, from values seen, and for weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

LARGEST = 127
"""The largest integer of a weight of 8 bits; its negative is the least."""

PAIRED = 63
"""And of 7 bits: two products with any bytes are summed in 16 bits without overflow."""

VERSION = 2
"""Of what is computed here; part of the key under which results are kept."""

TAIL = 1e-4
"""Share of values that range=percentile cuts off at either end."""

POWERS = {"quartic": 4, "mse": 2}
"""Of the error that is to be least. The fourth keeps rare large values: in networks with long tails they are what decides."""

LOOKED_AT, NEARLY = 64, 0.2
"""How many weights of a channel tell its step, and how far from a whole number of steps they may be: half precision moves the greatest by 0.12."""

SHRINKS = 36
"""How many ranges are tried for that: from the whole one down to a tenth."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The values scale * (0 - zero), ..., scale * (top - zero); 0 is one of them."""

    scale: np.float32
    zero: int
    top: int

    @classmethod
    def over(cls, low: float, high: float, top: int) -> Grid:
        """The grid from low to high, stretched to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32((high - low) / top)
        if not scale > 0:
            return cls(np.float32(1), 0, top)
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, top)), top)

    @property
    def parameters(self) -> tuple[float, float, float, float]:
        """What kernels take: 1 / scale, zero and top with half a step on them (they truncate), scale."""
        return float(np.float32(1) / self.scale), self.zero + 0.5, self.top + 0.5, float(self.scale)

    def encode(self, x: Floats) -> npt.NDArray[np.float32]:
        """The nearest whole numbers 0..top, halves upwards; as float32, in which kernels compute them too."""
        inverse, zero, top, _ = (np.float32(p) for p in self.parameters)
        return np.asarray(np.floor(np.clip(x * inverse + zero, np.float32(0), top)), np.float32)

    def nearest(self, x: Floats) -> Floats:
        """The nearest values of the grid."""
        return np.asarray((self.encode(x) - np.float32(self.zero)) * self.scale, np.float32)


def grid(values: Floats, bits: int, how: str) -> Grid:
    """The grid for an activation. values: float32[N], a sample of it, the least and the greatest among them. how: minmax, percentile, or one of POWERS."""
    top = 2**bits - 1
    low, high = float(values.min()), float(values.max())
    if how == "minmax":
        return Grid.over(low, high, top)
    if how == "percentile":
        low, high = np.quantile(values, (TAIL, 1 - TAIL)).tolist()
        return Grid.over(low, high, top)
    grids = [Grid.over(low * part, high * part, top) for part in np.linspace(1.0, 0.1, SHRINKS)]
    errors = [float((np.abs(candidate.nearest(values) - values).astype(np.float64) ** POWERS[how]).mean()) for candidate in grids]
    return grids[int(np.argmin(errors))]


def steps(weight: Floats, largest: int = LARGEST) -> Floats:
    """float32[O]: the step of every output channel's weights, float32[O, ...]: the greatest one is `largest` steps."""
    greatest = np.abs(weight.reshape(len(weight), -1)).max(1)
    return np.asarray(np.where(greatest > 0, greatest / np.float32(largest), 1), np.float32)


def found_steps(weight: Floats, most: int = LARGEST) -> Floats:
    """float32[O]: the step of which every output channel's weights, float32[O, T], are whole numbers, as far as half precision lets tell; of
    others as in `steps`. most: the largest integer.
    """
    some = weight[:, :: max(1, weight.shape[1] // LOOKED_AT)]
    greatest = np.abs(weight).max(1)
    result, missing = steps(weight, most), greatest > 0
    for largest in range(most, most // 2, -1):  # rounding pushes errors on, so the greatest weight need not have the largest integer
        step = np.where(missing, greatest / np.float32(largest), 1)
        whole = some / step[:, None]
        fits = missing & (np.abs(whole - np.rint(whole)).max(1) < NEARLY)
        result[fits] = step[fits]
        missing &= ~fits
    return result


def codes(weight: Floats, step: Floats, largest: int = LARGEST) -> Floats:
    """The nearest whole numbers -largest..largest of steps, as float32 of the same shape."""
    along = step.reshape(-1, *(1,) * (weight.ndim - 1))
    return np.asarray(np.clip(np.rint(weight / along), -largest, largest), np.float32)
