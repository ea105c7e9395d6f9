"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .strategy import ConfidenceDriven


@hookimpl
def mobiprox_strategies() -> list[ConfidenceDriven]:
    return [ConfidenceDriven()]
