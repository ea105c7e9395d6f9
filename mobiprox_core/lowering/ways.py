"""How a convolution or dense layer may be computed: the ways among which `mobiprox_core.tuning` chooses, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..plan import DeviceInfo


@dataclass(frozen=True, slots=True)
class Way:
    """template: the kernel. pixels, vectors: its register tile. units: how many there should be for each thread.

    fused: the lines that a technique skips are filled in by the unit that computed their neighbours, while these are in its cache.
    """

    template: str
    pixels: int
    vectors: int = 1
    units: int = 16
    fused: bool = False


ONE_VECTOR = 1.3
"""What a product costs in a wide unit where every element that was loaded is used once."""


def product_ways(device: DeviceInfo, pixels: int, vectors: int, fills: int = 0) -> tuple[Way, ...]:
    """For the general convolution, of so many computed pixels and vectors of output channels; the rule comes first.

    With two fills the first would have to run on the whole image before the second, so only one can be fused.

    The rule. Wide units: with two vectors or more an element that was loaded is multiplied twice, and loads no longer limit the products;
    then the tile that the pixels fill up best. Where pixels are few, weights come from memory, and four vectors keep more of it in flight.
    Narrow units: sixteen registers, which twelve accumulators fill.
    """
    if pixels < 4:
        return _units(Way("dense", 8))
    if device.kind == "gpu":
        return (Way("convolution", 4),)
    rows, six = min(8, pixels // 4 * 4), 6 if pixels >= 6 else 4
    if device.isa == "avx512":
        tiles = [(rows, 2), (six, 3), (4, 4), (rows, 1)] if pixels >= 8 else [(4, 4), (4, 2), (4, 3), (4, 1)]
    else:
        tiles = [(4, 3), (six, 2), (six, 1), (4, 2), (rows, 1)]
    legal = [Way("convolution", m, n) for m, n in tiles if vectors % n == 0]
    rule = legal[0]
    if device.isa == "avx512":
        rule = min(legal, key=lambda way: -(-pixels // way.pixels) * way.pixels * (ONE_VECTOR if way.vectors == 1 else 1))
    if fills == 1:
        return (*dict.fromkeys([*(replace(way, fused=True) for way in (rule, *legal)), rule]),)
    return (*dict.fromkeys([*_units(rule), *legal]),)


def depthwise_ways(device: DeviceInfo, whole_rows: bool) -> tuple[Way, ...]:
    """For one filter per channel; whole_rows: neighbouring columns can share inputs."""
    general = Way("depthwise", 6)
    if device.kind == "gpu":
        return (general,)
    return (*_units(Way("depthwise3x3", 4)), general) if whole_rows else _units(general)


def _units(rule: Way) -> tuple[Way, ...]:
    return (rule, *(Way(rule.template, rule.pixels, rule.vectors, units) for units in (4, 64)))
