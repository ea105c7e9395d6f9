"""Offers perforation to Mobiprox."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .perforation import Perforation


@hookimpl
def mobiprox_techniques() -> list[Perforation]:
    return [Perforation()]
