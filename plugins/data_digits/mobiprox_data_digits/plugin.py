"""Offers the data set `digits`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .digits import Digits


@hookimpl
def mobiprox_datasets() -> list[Digits]:
    return [Digits()]
