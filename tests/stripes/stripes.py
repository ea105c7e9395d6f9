"""Stripes: the elements of all filters are cut into stripes of some width; every other stripe is left out, the rest doubled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.configuration import KnobSetting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.graph import Graph, Operator
from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
from mobiprox_core.plan import DeviceInfo
from mobiprox_core.tables import KernelSource, Tables

if TYPE_CHECKING:
    import numpy.typing as npt


class Stripes:
    name = "stripes"
    summary = "Leave out every other stripe of filter elements"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"width": {"type": "integer", "minimum": 1, "default": 4, "description": "filter elements in one stripe"}},
        "required": [],
    }
    knobs: Mapping[str, str] = {"first": "1 keeps the first stripe, 0 leaves it out", "width": "filter elements in one stripe"}
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        width = options.get("width", 4)
        if operator.kind == "conv" and operator.constants["weight"][0].size > width:
            return [KnobSetting.of(self.name, first=first, width=width) for first in (0, 1)]
        return []

    def slot(self, setting: KnobSetting) -> str:
        return "taps"

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        if operator.kind != "conv":
            raise InfeasibleSetting(f"'{setting}' on a {operator.kind} operator", where=operator.name)

        def weight(exact: npt.NDArray[Any]) -> npt.NDArray[Any]:
            import numpy as np

            kept = _kept(setting, np.arange(exact[0].size))
            return exact * np.where(kept, np.float32(2), np.float32(0)).reshape(exact.shape[1:])

        return Approximation(weight=weight)

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        kept = _kept(setting, tables.taps)
        return replace(tables, taps=tables.taps[kept], weight=2 * tables.weight[:, kept])

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        return ()

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()


def _kept(setting: KnobSetting, taps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """bool[T]: which of these elements stay."""
    return taps // int(setting["width"]) % 2 != int(setting["first"])


@hookimpl
def mobiprox_techniques() -> list[Stripes]:
    return [Stripes()]
