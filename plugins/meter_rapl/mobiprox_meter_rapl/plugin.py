"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .rapl import Rapl


@hookimpl
def mobiprox_meters() -> list[Rapl]:
    return [Rapl()]
