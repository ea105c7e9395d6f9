"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import Guarded


@hookimpl
def mobiprox_strategies() -> list[Guarded]:
    return [Guarded()]
