"""Offers the measures `accuracy`, `agreement`, `top_k` and `macro_f1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobiprox_core.hookspecs import hookimpl

from .metrics import Accuracy, Agreement, MacroF1, TopK

if TYPE_CHECKING:
    from mobiprox_core.interfaces import Metric


@hookimpl
def mobiprox_qos() -> list[Metric]:
    return [Accuracy(), Agreement(), TopK(), MacroF1()]
