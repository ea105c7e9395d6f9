"""Offers the data set `arrays`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .arrays import Arrays


@hookimpl
def mobiprox_datasets() -> list[Arrays]:
    return [Arrays()]
