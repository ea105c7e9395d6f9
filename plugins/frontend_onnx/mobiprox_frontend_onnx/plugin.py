"""Offers the frontend `onnx`."""

from __future__ import annotations

from mobiprox_core.hookspecs import hookimpl

from .frontend import Onnx


@hookimpl
def mobiprox_frontends() -> list[Onnx]:
    return [Onnx()]
