"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .rails import Rails


@hookimpl
def mobiprox_meters() -> list[Rails]:
    return [Rails()]
