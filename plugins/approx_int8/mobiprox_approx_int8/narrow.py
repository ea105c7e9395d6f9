"""The technique `weight_only`: weights in few bits, arithmetic in float32, where reading weights is what takes the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import InfeasibleSetting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting
    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import KernelSource, Tables

    Floats = npt.NDArray[np.float32]

NAME = "weight_only"
BITS = (8, 4)
FEW = 32
"""Output positions of an input up to which a weight is read about as often as it is used."""


class WeightOnly:
    """Weights rounded to 8 or 4 bits, one step per output channel, widened as they are read; any device, no calibration."""

    name = NAME
    summary = "Weights in 8 or 4 bits, for dense layers and small maps"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "bits": {
                "type": "array",
                "items": {"enum": list(BITS)},
                "minItems": 1,
                "uniqueItems": True,
                "default": list(BITS),
                "description": "bits of a weight",
            }
        },
        "required": [],
    }
    knobs: Mapping[str, str] = {"bits": "of a weight: 8 or 4"}
    tolerance = 1e-5

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        """Dense layers, and convolutions that are no depthwise ones and give few positions."""
        from mobiprox_core.configuration import KnobSetting

        if not _applies(operator, graph):
            return ()
        return tuple(KnobSetting.of(NAME, bits=bits) for bits in options.get("bits", BITS))

    def slot(self, setting: KnobSetting) -> str:
        return "precision"

    def explain(self, setting: KnobSetting) -> str:
        return f"keeps weights in {dict(setting.params).get('bits')} bits"

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """Rounds the weights."""
        from mobiprox_core.interfaces import Approximation

        largest = _largest(setting, operator)
        return Approximation(weight=lambda weight: _rounded(weight, largest))

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        from .storage import NIBBLES, SIGNED_BYTES, integers

        largest = _largest(setting, operator)
        return replace(
            tables,
            weight=_rounded(tables.weight, largest),
            storage=SIGNED_BYTES if largest > 7 else NIBBLES,
            encode=lambda tables: integers(tables, largest),
        )

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        from importlib.resources import files

        from mobiprox_core.tables import KernelSource

        source = files(__package__) / "kernels" / "narrow.cl"
        return (KernelSource(str(source), source.read_text(encoding="utf-8"), ()),)

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()


def _applies(operator: Operator, graph: Graph) -> bool:
    if operator.kind == "conv":
        positions = 1
        for length in graph.shape(operator.output)[2:]:
            positions *= length
        return positions <= FEW and not (operator["group"] > 1 and operator.constants["weight"].shape[1] == 1)
    return operator.kind == "dense"


def _largest(setting: KnobSetting, operator: Operator) -> int:
    """The largest integer of a weight: 127 or 7."""
    bits = dict(setting.params).get("bits")
    if bits not in BITS or len(setting.params) != 1:
        raise InfeasibleSetting(f"'{setting}' is not one of this technique", mend=f"write it like '{NAME}(bits=8)'")
    single = operator.kind == "conv" and operator["group"] > 1 and operator.constants["weight"].shape[1] == 1
    if operator.kind not in ("conv", "dense") or single:
        raise InfeasibleSetting(f"'{setting}' applies to dense layers and convolutions that are not depthwise", where=operator.name)
    return int(2 ** (int(bits) - 1) - 1)


def _rounded(weight: Floats, largest: int) -> Floats:
    """The nearest multiples of every output channel's step. weight: float32[O, ...]."""
    from .grid import codes, steps

    step = steps(weight, largest)
    return codes(weight, step, largest) * step.reshape(-1, *(1,) * (weight.ndim - 1))
