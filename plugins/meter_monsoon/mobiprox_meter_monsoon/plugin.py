"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .monsoon import Monsoon


@hookimpl
def mobiprox_meters() -> list[Monsoon]:
    return [Monsoon()]
