"""Offers the frontend `torch`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .frontend import Torch


@hookimpl
def mobiprox_frontends() -> list[Torch]:
    return [Torch()]
