"""Offers the measures `psnr` and `mse`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobiprox_core.hookspecs import hookimpl

from .metrics import Mse, Psnr

if TYPE_CHECKING:
    from mobiprox_core.interfaces import Metric


@hookimpl
def mobiprox_qos() -> list[Metric]:
    return [Psnr(), Mse()]
