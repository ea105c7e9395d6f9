"""Hook implementations."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .executor import Dask


@hookimpl
def mobiprox_executors() -> list[Dask]:
    return [Dask()]
