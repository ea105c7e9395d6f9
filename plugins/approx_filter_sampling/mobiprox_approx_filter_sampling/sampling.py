"""The technique: which settings there are, what they mean, and how they edit a convolution's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.configuration import KnobSetting, Setting
from mobiprox_core.errors import InfeasibleSetting
from mobiprox_core.graph import Graph, Operator
from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
from mobiprox_core.plan import DeviceInfo
from mobiprox_core.tables import KernelSource, Tables

from .knobs import NAME, PATTERNS, STRIDES, Filter, offered, skipped

if TYPE_CHECKING:
    import numpy.typing as npt


class FilterSampling:
    """Leaves out every k-th element of all filters of a convolution and multiplies the others by k / (k - 1)."""

    name = NAME
    summary = "Skip filter elements of convolutions and rescale the others"
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
            "dense": {"type": "boolean", "default": False, "description": "sample dense layers as well; the paper does not"},
        },
        "required": [],
    }
    knobs: Mapping[str, str] = {
        "stride": "one element in `stride` is skipped",
        "offset": "the first element skipped, below `stride`",
        "pattern": "when the offset rotates with the channel: predtuner, or left out for the runtime's rule",
    }
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        """Every stride and offset that skips something; convolutions of every kind, dense layers with `dense: true`."""
        if operator.kind == "conv" or (operator.kind == "dense" and options.get("dense", False)):
            return tuple(
                offered(Filter.of(operator.constants["weight"]), options.get("strides", STRIDES), options.get("pattern", PATTERNS[0]))
            )
        return ()

    def slot(self, setting: KnobSetting) -> str:
        return "taps"

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """Samples the weights; the bias stays."""
        from .reference import sample_filter

        stride, offset, pattern = _knobs(setting)
        _require_filters(setting, operator)
        return Approximation(weight=lambda weight: sample_filter(weight, stride, offset, pattern))

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        """Takes the skipped elements out of taps and weights, and scales the weights that stay."""
        import numpy as np

        from .reference import factor

        stride, offset, pattern = _knobs(setting)
        _require_filters(setting, operator)
        elements = skipped(Filter.of(operator.constants["weight"]), stride, offset, pattern)
        if not elements:
            return tables
        kept = ~np.isin(tables.taps, elements)
        if not kept.any():
            raise InfeasibleSetting(f"'{setting}' leaves no filter element after the settings before it", where=operator.name)
        return replace(tables, taps=tables.taps[kept], weight=tables.weight[:, kept] * factor(stride))

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        return ()

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()

    def exchange_ids(self) -> Mapping[int, Setting]:
        """HPVM's ids 231-239: by stride, then offset."""
        order = [(stride, offset) for stride in (2, 3, 4) for offset in range(stride)]
        return {231 + i: Setting.of(NAME, stride=stride, offset=offset) for i, (stride, offset) in enumerate(order)}


def _knobs(setting: KnobSetting) -> tuple[int, int, str]:
    """stride, offset, pattern; raises InfeasibleSetting for what is no filter sampling."""
    knobs = {"pattern": PATTERNS[0], **dict(setting.params)}
    stride, offset, pattern = knobs.get("stride"), knobs.get("offset"), knobs["pattern"]
    if (
        set(knobs) == {"stride", "offset", "pattern"}
        and pattern in PATTERNS
        and isinstance(stride, int)
        and isinstance(offset, int)
        and 0 <= offset < stride
        and stride >= 2
    ):
        return stride, offset, str(pattern)
    raise InfeasibleSetting(
        f"'{setting}' is not a filter sampling",
        mend=f"write it like '{NAME}(offset=0, stride=2)'; stride at least 2, 0 <= offset < stride",
    )


def _require_filters(setting: KnobSetting, operator: Operator) -> None:
    if operator.kind not in ("conv", "dense"):
        raise InfeasibleSetting(f"'{setting}' on a {operator.kind} operator: it has no filters", where=operator.name)
