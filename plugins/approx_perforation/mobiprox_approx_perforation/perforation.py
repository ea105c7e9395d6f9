"""The technique: which settings there are, what they mean, and how they edit a convolution's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import InfeasibleSetting

from .knobs import AXES, FILLS, NAME, STRIDES, offered, output_size, parse, skipped

if TYPE_CHECKING:
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting, Setting
    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import KernelSource, Tables

FILL = "perforation_fill"


class Perforation:
    """Computes only some output rows or columns of a convolution and interpolates the others.

    Interpolation is linear and works on rows and columns separately, so both may meet on one operator: columns are filled first,
    on the computed rows only, then rows. Where there are calibration inputs, the weights of the neighbours can be fitted to them.
    """

    name = NAME
    summary = "Skip output rows or columns of convolutions and interpolate them"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "strides": {
                "type": "array",
                "items": {"type": "integer", "minimum": 2},
                "minItems": 1,
                "uniqueItems": True,
                "default": list(STRIDES),
                "description": "one line in `stride` is skipped",
            },
            "axes": {
                "type": "array",
                "items": {"enum": list(AXES)},
                "minItems": 1,
                "uniqueItems": True,
                "default": list(AXES),
                "description": "what is skipped",
            },
            "fill": {
                "enum": list(FILLS),
                "default": FILLS[0],
                "description": "what a skipped line becomes. `mean`: the mean of its neighbours, as in the paper; `fitted`: what calibration "
                "inputs say it is, from its neighbours; `auto`: both are on offer",
            },
        },
        "required": [],
    }
    knobs: Mapping[str, str] = {
        "axis": "rows or columns of the output",
        "stride": "one line in `stride` is skipped",
        "offset": "the first line skipped, below `stride`",
        "fill": "fitted: skipped lines follow from their neighbours as fitted to calibration inputs; left out, they are their mean",
    }
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        """Every axis, stride and offset that skips something; only convolutions (grouped and depthwise too) have lines to skip."""
        from mobiprox_core.configuration import KnobSetting

        if operator.kind != "conv":
            return ()
        mean = tuple(offered(output_size(operator, graph), options.get("axes", AXES), options.get("strides", STRIDES)))
        fitted = tuple(KnobSetting(NAME, (*setting.params, ("fill", "fitted"))) for setting in mean)
        return {"mean": mean, "auto": mean + fitted, "fitted": fitted}[options.get("fill", FILLS[0])]

    def options_of(self, setting: KnobSetting) -> Options:
        what = parse(setting)
        return {"axes": [what.axis], "strides": [what.stride], "fill": "fitted" if what.fitted else "mean"}

    def slot(self, setting: KnobSetting) -> str:
        return parse(setting).axis

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return parse(setting).fitted

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """Perforates the result before residual and activation."""
        from mobiprox_core.interfaces import Approximation

        from .reference import perforate_columns, perforate_rows

        what = parse(setting)
        _require_convolution(setting, operator)
        perforate = perforate_rows if what.axis == "rows" else perforate_columns
        return Approximation(output=lambda y: perforate(y, what.stride, what.offset, fitted.get("fill")))

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        """For a fitted setting fill float32[S, 3, O]: of each skipped line the weights of the lines before and after, and what is added."""
        what = parse(setting)
        if not what.fitted:
            return {}
        _require_convolution(setting, operator)
        if statistics is None:
            raise InfeasibleSetting.unfitted(setting, operator.name, "give calibration inputs, or leave out fill=fitted")
        from . import fit

        known = statistics
        return known.once(f"{setting}, {fit.VERSION}", lambda: {"fill": fit.fill(known.outputs(), what.axis, what.stride, what.offset)})

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        """Takes the skipped lines out of the table and appends the fill that interpolates them."""
        import numpy as np

        from mobiprox_core.tables import Fill

        what = parse(setting)
        _require_convolution(setting, operator)
        axis = what.axis
        lines = tables.rows if axis == "rows" else tables.columns  # all of them: slot() admits one perforation per axis
        kept = np.ones(len(lines), bool)
        kept[list(skipped(len(lines), what.stride, what.offset))] = False
        if kept.all():
            return tables
        mean = np.tile(np.array([[0.5], [0.5], [0.0]], np.float32), (int((~kept).sum()), len(tables.bias)))
        constants = fitted["fill"].reshape(mean.shape) if what.fitted else mean
        fill = Fill(FILL, "rows" if axis == "rows" else "columns", kept, constants, any_form=True)
        # Columns before rows: a column's fill reads only computed rows, a row's fill reads whole rows.
        fills = (*tables.fills, fill) if axis == "rows" else (fill, *tables.fills)
        if axis == "rows":
            return replace(tables, rows=lines[kept], fills=fills)
        return replace(tables, columns=lines[kept], fills=fills)

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        from importlib.resources import files

        from mobiprox_core.tables import KernelSource

        source = files(__package__) / "kernels" / "fill.cl"
        return (KernelSource(str(source), source.read_text(encoding="utf-8"), (FILL,), any_form=True),)

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()

    def explain(self, setting: KnobSetting) -> str:
        what = parse(setting)
        line, how = what.axis.removesuffix("s"), ", as calibration inputs say" if what.fitted else ""
        return f"skips every {_ordinal(what.stride)} {line} from {line} {what.offset}, and interpolates it{how}"

    def exchange_ids(self) -> Mapping[int, Setting]:
        """HPVM's ids 121-138: by stride, columns before rows, by offset."""
        from mobiprox_core.configuration import Setting

        order = [(axis, stride, offset) for stride in (2, 3, 4) for axis in ("columns", "rows") for offset in range(stride)]
        return {121 + i: Setting.of(NAME, axis=axis, stride=stride, offset=offset) for i, (axis, stride, offset) in enumerate(order)}


def _ordinal(number: int) -> str:
    return f"{number}{({1: 'st', 2: 'nd', 3: 'rd'} if number % 100 // 10 != 1 else {}).get(number % 10, 'th')}"


def _require_convolution(setting: KnobSetting, operator: Operator) -> None:
    if operator.kind != "conv":
        raise InfeasibleSetting(f"'{setting}' on a {operator.kind} operator: only convolutions have rows and columns", where=operator.name)
