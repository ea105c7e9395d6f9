"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import Naive


@hookimpl
def mobiprox_strategies() -> list[Naive]:
    return [Naive()]
