"""Offers the data set `keywords`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .keywords import Keywords


@hookimpl
def mobiprox_datasets() -> list[Keywords]:
    return [Keywords()]
