"""Offers 8-bit integers to Mobiprox."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .narrow import WeightOnly
from .quantised import Quantised


@hookimpl
def mobiprox_techniques() -> list[Quantised | WeightOnly]:
    return [Quantised(), WeightOnly()]
