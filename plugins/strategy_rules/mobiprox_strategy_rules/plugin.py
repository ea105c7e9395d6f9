"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import Rules


@hookimpl
def mobiprox_strategies() -> list[Rules]:
    return [Rules()]
