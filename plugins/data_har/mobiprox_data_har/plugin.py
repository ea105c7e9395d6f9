"""Offers the data set `har`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .har import Har


@hookimpl
def mobiprox_datasets() -> list[Har]:
    return [Har()]
