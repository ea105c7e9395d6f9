"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .battery import Battery


@hookimpl
def mobiprox_meters() -> list[Battery]:
    return [Battery()]
