"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import StateDriven


@hookimpl
def mobiprox_strategies() -> list[StateDriven]:
    return [StateDriven()]
