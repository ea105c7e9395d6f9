"""Offers 8-bit integers to Mobiprox."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .quantised import Quantised


@hookimpl
def mobiprox_techniques() -> list[Quantised]:
    return [Quantised()]
