"""Offers the data set `cifar10`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .cifar10 import Cifar10


@hookimpl
def mobiprox_datasets() -> list[Cifar10]:
    return [Cifar10()]
