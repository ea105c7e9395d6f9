"""Corrections of one level: what its operators give is brought back to what they would give in the exact network.

A setting is fitted as if everything before it were exact. In a level it is not, and small errors add up from operator to operator; a
correction makes up for that. It is an edit of the tables after all techniques, so it neither knows them nor costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .configuration import Configuration, OpId
from .tables import Tables

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


Grade = Literal["affine", "full"]
"""What is fitted for every operator of a level: a scale and a bias per output channel, or its weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Of one operator (convolution or dense layer) in one level: of its sums, before fills, residual and activation.

    Grade affine: the sum y becomes scale * y + bias, both float32[O]. Grade full: weight, float32[O, T], takes the place of the weights of
    the kept filter elements taps, int64[T], and bias that of the bias; scale is None then.
    """

    bias: Floats
    scale: Floats | None = None
    weight: Floats | None = None
    taps: npt.NDArray[np.int64] | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes in the arena."""
        return sum(values.nbytes for values in (self.bias, self.scale, self.weight) if values is not None)


Corrections = Mapping[OpId, Correction]
"""Of one level; operators left out are as their setting says."""

CorrectionsOf = Callable[[Configuration], Corrections]


def none(configuration: Configuration) -> Corrections:
    """Nothing is corrected."""
    return {}


def corrected(tables: Tables, correction: Correction) -> Tables:
    """The tables of an operator that does what they say, corrected."""
    if correction.weight is not None:
        assert correction.taps is not None
        assert correction.taps.tolist() == tables.taps.tolist(), "a correction of another setting"
        return replace(tables, weight=correction.weight, bias=correction.bias)
    assert correction.scale is not None
    scale = correction.scale if tables.scale is None else correction.scale * tables.scale
    return replace(tables, scale=scale, bias=correction.scale * tables.bias + correction.bias)
