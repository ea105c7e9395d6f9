"""Offers two half-wide formats to Mobiprox: IEEE half and bfloat16."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .brain import Brain
from .half import Half


@hookimpl
def mobiprox_techniques() -> list[Brain | Half]:
    return [Brain(), Half()]
