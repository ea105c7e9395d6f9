"""Every second output row or column is copied from its neighbour: a technique that brings a kernel of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from mobiprox_core.configuration import KnobSetting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import Approximation

if TYPE_CHECKING:
    import numpy.typing as npt

    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import KernelSource, Tables

FILL = "nearest_fill"


class Nearest:
    name = "nearest"
    summary = "Copy every second output row or column from the one before"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "axes": {
                "type": "array",
                "items": {"enum": ["rows", "columns"]},
                "minItems": 1,
                "default": ["rows", "columns"],
                "description": "what may be copied",
            }
        },
    }
    knobs: Mapping[str, str] = {"axis": "rows or columns of the output", "offset": "the first line that is copied, 0 or 1"}
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        shape = graph.shape(operator.output)
        if operator.kind != "conv":
            return []
        lines = {"rows": shape[2] if len(shape) == 4 else 1, "columns": shape[-1]}
        axes = options.get("axes", ["rows", "columns"])
        return [KnobSetting.of(self.name, axis=axis, offset=offset) for axis in axes if lines[axis] > 1 for offset in (0, 1)]

    def explain(self, setting: KnobSetting) -> str:
        axis, offset = _knobs(setting)
        return f"copies every 2nd {axis.removesuffix('s')} from its neighbour, the first is {axis.removesuffix('s')} {offset}"

    def slot(self, setting: KnobSetting) -> str:
        return _knobs(setting)[0]

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """A line that is copied takes the line before it; the first line, if it is copied, the one after it."""
        axis, offset = _knobs(setting)

        def copied(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
            import numpy as np

            along = 2 if axis == "rows" else 3
            if y.shape[along] == 1:
                return y
            lines = np.arange(y.shape[along])
            source = np.where(lines % 2 == offset, lines - 1, lines)
            source[source < 0] = 1
            return y.take(source, axis=along)

        return Approximation(output=copied)

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        import numpy as np

        from mobiprox_core.tables import Fill

        axis, offset = _knobs(setting)
        lines = tables.rows if axis == "rows" else tables.columns
        if len(lines) == 1:
            return tables
        kept = np.arange(len(lines)) % 2 != offset
        fill = Fill(FILL, axis, kept)
        if axis == "rows":  # columns are filled before rows: a row's fill reads whole rows
            return replace(tables, rows=lines[kept], fills=(*tables.fills, fill))
        return replace(tables, columns=lines[kept], fills=(fill, *tables.fills))

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        from importlib.resources import files

        from mobiprox_core.tables import KernelSource

        source = files(__package__) / "kernels" / "nearest.cl"
        return [KernelSource(str(source), source.read_text(encoding="utf-8"), (FILL,))]

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return []


def _knobs(setting: KnobSetting) -> tuple[Literal["rows", "columns"], int]:
    knobs = dict(setting.params)
    axis, offset = knobs.get("axis"), knobs.get("offset")
    if axis in ("rows", "columns") and offset in (0, 1) and len(knobs) == 2:
        return ("rows" if axis == "rows" else "columns"), int(offset)
    raise InfeasibleSetting(f"'{setting}' means nothing", mend="write it like 'nearest(axis=rows, offset=1)'; offset 0 or 1")


@hookimpl
def mobiprox_techniques() -> list[Nearest]:
    return [Nearest()]
