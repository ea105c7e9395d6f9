"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import KalmanFiltered


@hookimpl
def mobiprox_strategies() -> list[KalmanFiltered]:
    return [KalmanFiltered()]
