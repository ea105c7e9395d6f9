"""Offers half precision to Mobiprox."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .half import Half


@hookimpl
def mobiprox_techniques() -> list[Half]:
    return [Half()]
