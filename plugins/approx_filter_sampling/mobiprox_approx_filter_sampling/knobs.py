"""Which filter elements a setting skips, and which settings are worth offering. Plain integers: no NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobiprox_core.configuration import KnobSetting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NAME = "filter_sampling"
PATTERNS = ("runtime", "predtuner")
STRIDES = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class Filter:
    """The shape of one filter; its flattened element e = (c * height + i) * width + j, c the channel within the group."""

    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, weight: npt.NDArray[np.float32]) -> Filter:
        """weight: [O, C, KH, KW], or [O, K] of a dense layer, whose filter is 1x1 over its features."""
        channels, height, width = (*weight.shape[1:], 1, 1)[:3]
        return cls(channels, height, width)

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width


def skipped(shape: Filter, stride: int, offset: int, pattern: str = "runtime") -> tuple[int, ...]:
    """The elements left out of every filter; () where a setting would leave out all of them: such a setting is exact.

    Plain pattern: elements offset, offset + stride, ... Where the area of the filter is divisible by the stride (pattern
    "runtime") or only where stride = height = width = 3 (pattern "predtuner"), that would hit the same place in every channel,
    so there the offset moves on by one with every channel.
    """
    area = shape.height * shape.width
    rotates = area % stride == 0 if pattern == "runtime" else stride == shape.height == shape.width == 3
    if rotates:
        elements = tuple(c * area + e for c in range(shape.channels) for e in range((offset + c) % stride, area, stride))
    else:
        elements = tuple(range(offset, shape.size, stride))
    return () if len(elements) == shape.size else elements


def offered(shape: Filter, strides: Sequence[int], pattern: str) -> Iterator[KnobSetting]:
    """Settings that skip something; of settings that skip the same elements by the same stride (so scale alike) the first."""
    compatible = {} if pattern == "runtime" else {"pattern": pattern}
    for stride in strides:
        seen: set[tuple[int, ...]] = {()}
        for offset in range(stride):
            elements = skipped(shape, stride, offset, pattern)
            if elements not in seen:
                seen.add(elements)
                yield KnobSetting.of(NAME, stride=stride, offset=offset, **compatible)
