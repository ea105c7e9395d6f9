"""Offers filter sampling to Mobiprox."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .sampling import FilterSampling


@hookimpl
def mobiprox_techniques() -> list[FilterSampling]:
    return [FilterSampling()]
