"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import Cascading


@hookimpl
def mobiprox_strategies() -> list[Cascading]:
    return [Cascading()]
