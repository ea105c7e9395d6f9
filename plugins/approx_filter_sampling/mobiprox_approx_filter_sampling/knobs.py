"""What the knobs say: which filter elements a setting skips, and which settings are worth offering. Plain integers: no NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from mobiprox_core.errors import InfeasibleSetting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting

NAME = "filter_sampling"
PATTERNS = ("runtime", "predtuner")
STRIDES = (2, 3, 4)
FRACTIONS = ("3/4", "1/2", "1/3", "1/4", "1/6", "1/10")
LARGE = 100
"""Elements of a filter from which on less than a quarter of them may do."""


@dataclass(frozen=True, slots=True)
class Regular:
    """Every stride-th element, or granule of elements, skipped; the others are rescaled, or fitted."""

    stride: int
    offset: int
    pattern: str = PATTERNS[0]
    refit: bool = False
    granule: int = 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """`keep` of `of` elements kept, or granules of them, those that serve the calibration inputs best; their weights are fitted."""

    keep: int
    of: int
    granule: int = 1

    def count(self, size: int) -> int:
        """How many of `size` elements stay: the nearest number, at least one. With granules about so many."""
        return max(1, (2 * size * self.keep + self.of) // (2 * self.of))


def parse(setting: KnobSetting) -> Regular | Chosen:
    """What a setting says; raises InfeasibleSetting for what is no filter sampling."""
    match dict(setting.params):
        case {"choose": "error", "keep": int(keep), "of": int(of), **more} if 0 < keep < of:
            granule = more.pop("granule", 1)
            if not more and isinstance(granule, int) and granule > 0:
                return Chosen(keep, of, granule)
        case {"stride": int(stride), "offset": int(offset), **more} if 0 <= offset < stride >= 2:
            refit, pattern, granule = more.pop("refit", None), more.pop("pattern", PATTERNS[0]), more.pop("granule", 1)
            if not more and refit in (None, "independent") and pattern in PATTERNS and isinstance(granule, int) and granule > 0:
                return Regular(stride, offset, str(pattern), refit is not None, granule)
    raise InfeasibleSetting(
        f"'{setting}' is not a filter sampling",
        mend=f"write it like '{NAME}(offset=0, stride=2)', '{NAME}(offset=0, refit=independent, stride=2)' or "
        f"'{NAME}(choose=error, keep=1, of=2)'; stride at least 2, 0 <= offset < stride, 0 < keep < of",
    )


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


def skipped(shape: Filter, stride: int, offset: int, pattern: str = "runtime", granule: int = 1) -> tuple[int, ...]:
    """The elements left out of every filter; () where a setting would leave out all of them: such a setting is exact.

    Plain pattern: elements offset, offset + stride, ... Where the area of the filter is divisible by the stride (pattern
    "runtime") or only where stride = height = width = 3 (pattern "predtuner"), that would hit the same place in every channel,
    so there the offset moves on by one with every channel. With a granule of n, n neighbouring channels at one place count as one element.
    """
    area = shape.height * shape.width
    if granule > 1:
        units = skipped(Filter(-(-shape.channels // granule), shape.height, shape.width), stride, offset, pattern)
        places = ((unit // area * granule, unit % area) for unit in units)
        return tuple(sorted(c * area + e for first, e in places for c in range(first, min(first + granule, shape.channels))))
    rotates = area % stride == 0 if pattern == "runtime" else stride == shape.height == shape.width == 3
    if rotates:
        elements = tuple(c * area + e for c in range(shape.channels) for e in range((offset + c) % stride, area, stride))
    else:
        elements = tuple(range(offset, shape.size, stride))
    return () if len(elements) == shape.size else elements


def regular(shape: Filter, strides: Sequence[int], pattern: str, granules: Sequence[int] = (1,)) -> Iterator[KnobSetting]:
    """Settings that skip something; of settings that skip the same elements by the same stride (so scale alike) the first."""
    from mobiprox_core.configuration import KnobSetting

    compatible: dict[str, str] = {} if pattern == PATTERNS[0] else {"pattern": pattern}
    for stride in strides:
        seen: set[tuple[int, ...]] = {()}
        for granule, offset in product(granules, range(stride)):
            elements = skipped(shape, stride, offset, pattern, granule)
            if elements not in seen:
                seen.add(elements)
                yield KnobSetting.of(NAME, stride=stride, offset=offset, **compatible, **({"granule": granule} if granule > 1 else {}))


def chosen(shape: Filter, fractions: Sequence[str], granules: Sequence[int] = (1,)) -> Iterator[KnobSetting]:
    """Settings that skip something, each another number of elements or of granules; less than a quarter is kept of large filters only."""
    from mobiprox_core.configuration import KnobSetting

    seen = set()
    for granule in granules:
        units = -(-shape.channels // granule) * shape.height * shape.width
        seen.add((units, units))
        for fraction in fractions:
            keep, of = map(int, fraction.split("/"))
            count = units, Chosen(keep, of).count(units) if keep < of else units
            if count not in seen and (4 * keep >= of or shape.size > LARGE):
                seen.add(count)
                yield KnobSetting.of(NAME, choose="error", keep=keep, of=of, **({"granule": granule} if granule > 1 else {}))
