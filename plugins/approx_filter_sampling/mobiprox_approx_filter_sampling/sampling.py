"""The technique: which settings there are, what they mean, and how they edit a convolution's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import InfeasibleSetting

from .knobs import FRACTIONS, NAME, PATTERNS, STRIDES, Chosen, Filter, Regular, chosen, parse, regular, skipped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting, Setting
    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import KernelSource, Tables


class FilterSampling:
    """Leaves out filter elements, the same ones in all filters, and lets the others make up for them.

    As in the paper every k-th one, with the others multiplied by k / (k - 1). Where there are calibration inputs, the others can be fitted
    to them, and so can the choice of what is left out.
    """

    name = NAME
    summary = "Skip filter elements, and rescale or fit the others"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "strides": {
                "type": "array",
                "items": {"type": "integer", "minimum": 2},
                "minItems": 1,
                "uniqueItems": True,
                "default": list(STRIDES),
                "description": "one element in `stride` is skipped",
            },
            "pattern": {
                "enum": list(PATTERNS),
                "default": PATTERNS[0],
                "description": "when the offset rotates with the channel: `runtime` where stride divides the filter's area, "
                "`predtuner` only for stride 3 on 3x3 filters",
            },
            "granules": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "uniqueItems": True,
                "default": [1],
                "description": "how many neighbouring channels at one place are skipped or kept together: where a device multiplies several at "
                "once (4 bytes, 2 bfloat16), only whole granules save time",
            },
            "refit": {
                "enum": ["auto", "independent", "off", False],  # YAML reads a bare off as false
                "default": "auto",
                "description": "`off`: the paper's settings only; `independent`: only settings fitted to calibration inputs; `auto`: both",
            },
            "keep": {
                "type": "array",
                "items": {"type": "string", "pattern": "^[1-9][0-9]*/[1-9][0-9]*$"},
                "uniqueItems": True,
                "default": list(FRACTIONS),
                "description": "fractions of the elements to keep where calibration inputs choose which; below 1/4 for filters of more "
                "than 100 elements",
            },
            "dense": {
                "type": "boolean",
                "default": False,
                "description": "the paper's settings for dense layers too; the paper samples convolutions only",
            },
        },
        "required": [],
    }
    knobs: Mapping[str, str] = {
        "stride": "one element in `stride` is skipped",
        "offset": "the first element skipped, below `stride`",
        "granule": "how many neighbouring channels at one place are skipped or kept together; left out, 1",
        "pattern": "when the offset rotates with the channel: predtuner, or left out for the runtime's rule",
        "refit": "independent: the elements kept are fitted to calibration inputs; left out, they are rescaled",
        "choose": "error: calibration inputs choose which elements are kept",
        "keep": "with `of`: how many elements of how many are kept",
        "of": "with `keep`: how many elements of how many are kept",
    }
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        """The paper's (convolutions of every kind; dense layers with `dense: true`), the same fitted, and the chosen ones."""
        from mobiprox_core.configuration import KnobSetting

        if operator.kind not in ("conv", "dense"):
            return ()
        shape, refit = Filter.of(operator.constants["weight"]), options.get("refit", "auto") or "off"
        every = tuple(regular(shape, options.get("strides", STRIDES), options.get("pattern", PATTERNS[0]), options.get("granules", (1,))))
        plain = every if refit != "independent" and (operator.kind == "conv" or options.get("dense", False)) else ()
        if refit == "off":
            return plain
        fitted = (KnobSetting(NAME, (*setting.params, ("refit", "independent"))) for setting in every)
        return (*plain, *fitted, *chosen(shape, options.get("keep", FRACTIONS), options.get("granules", (1,))))

    def slot(self, setting: KnobSetting) -> str:
        return "taps"

    def options_of(self, setting: KnobSetting) -> Options:
        match parse(setting):
            case Chosen(keep, of, granule):
                return {"keep": [f"{keep}/{of}"], "granules": [granule]}
            case Regular(stride, _, pattern, _, granule):
                return {"strides": [stride], "pattern": pattern, "granules": [granule], "dense": True}

    def explain(self, setting: KnobSetting) -> str:
        match parse(setting):
            case Chosen(keep, of, granule):
                what = "filter elements" if granule == 1 else f"granules of {granule} channels"
                return f"keeps {keep} of {of} {what}, those that serve the calibration inputs best, and fits their weights"
            case Regular(stride, offset, pattern, refit, granule):
                rotated = " in the order of predtuner" if pattern != PATTERNS[0] else ""
                rest = "fits the others to calibration inputs" if refit else "rescales the others"
                what = "filter element" if granule == 1 else f"granule of {granule} channels"
                return f"skips one {what} in {stride}, the first at {offset}{rotated}, and {rest}"

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return not {"refit", "choose"}.isdisjoint(dict(setting.params))

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        """For a fitted setting taps int64[T], weight float32[O, T] and bias float32[O]."""
        if not self.needs_statistics(setting):
            return {}
        _require_filters(setting, operator)
        if statistics is None:
            raise InfeasibleSetting.unfitted(setting, operator.name, "give calibration inputs, or take a setting without refit and choose")
        from . import fit

        known = statistics
        kept = _kept(setting, operator, known)
        weight = operator.constants["weight"]
        if len(kept) == Filter.of(weight).size:
            return {"taps": kept, "weight": weight.reshape(len(weight), -1), "bias": operator.constants["bias"]}

        def work() -> Mapping[str, npt.NDArray[Any]]:
            fitted, bias = fit.refit(known.moments(), weight, kept)
            return {"taps": kept, "weight": fitted, "bias": bias}

        return statistics.once(f"{setting}, {fit.VERSION}", work)

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """Samples the weights; the bias stays unless it is fitted."""
        from mobiprox_core.interfaces import Approximation

        from .reference import sample_filter, scattered

        what = parse(setting)
        _require_filters(setting, operator)
        if isinstance(what, Chosen) or what.refit:
            return Approximation(
                weight=lambda weight: scattered(fitted["taps"], fitted["weight"], weight.shape), bias=lambda bias: fitted["bias"]
            )
        return Approximation(weight=lambda weight: sample_filter(weight, what.stride, what.offset, what.pattern, what.granule))

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        """Takes the skipped elements out of taps and weights; scales the weights that stay, or puts the fitted ones in their place."""
        import numpy as np

        from .reference import factor

        what = parse(setting)
        _require_filters(setting, operator)
        if isinstance(what, Chosen) or what.refit:
            kept = np.isin(tables.taps, fitted["taps"])
            weight, bias = fitted["weight"][:, np.isin(fitted["taps"], tables.taps)], fitted["bias"]
        else:
            elements = skipped(Filter.of(operator.constants["weight"]), what.stride, what.offset, what.pattern, what.granule)
            if not elements:
                return tables
            kept = ~np.isin(tables.taps, elements)
            weight, bias = tables.weight[:, kept] * factor(what.stride), tables.bias
        if not kept.any():
            raise InfeasibleSetting(f"'{setting}' leaves no filter element after the settings before it", where=operator.name)
        return replace(tables, taps=tables.taps[kept], weight=weight, bias=bias)

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        return ()

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()

    def exchange_ids(self) -> Mapping[int, Setting]:
        """HPVM's ids 231-239: by stride, then offset."""
        from mobiprox_core.configuration import Setting

        order = [(stride, offset) for stride in (2, 3, 4) for offset in range(stride)]
        return {231 + i: Setting.of(NAME, stride=stride, offset=offset) for i, (stride, offset) in enumerate(order)}


def _kept(setting: KnobSetting, operator: Operator, statistics: Statistics) -> npt.NDArray[np.int64]:
    """The elements that a fitted setting keeps, ascending."""
    import numpy as np

    from . import fit

    what, weight = parse(setting), operator.constants["weight"]
    shape = Filter.of(weight)
    if isinstance(what, Chosen):
        area, elements = shape.height * shape.width, np.arange(shape.size)
        units = elements // area // what.granule * area + elements % area
        place = f"{NAME} order, {fit.VERSION}" + (f", granules of {what.granule}" if what.granule > 1 else "")
        order = statistics.once(place, lambda: {"order": fit.order(statistics.moments(), weight, units)})["order"]
        borders = np.flatnonzero(np.diff(units[order], prepend=-1))
        first = borders[np.abs(borders - (shape.size - what.count(shape.size))).argmin()]
        return np.sort(order[first:])
    return np.setdiff1d(np.arange(shape.size), skipped(shape, what.stride, what.offset, what.pattern, what.granule))


def _require_filters(setting: KnobSetting, operator: Operator) -> None:
    if operator.kind not in ("conv", "dense"):
        raise InfeasibleSetting(f"'{setting}' on a {operator.kind} operator: it has no filters", where=operator.name)
