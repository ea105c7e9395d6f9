"""The technique `bf16`: float32 cut to its upper half, on CPUs that multiply such numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import InfeasibleSetting

from .half import OPERATORS, options, require_operator

if TYPE_CHECKING:
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting
    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import Form, KernelSource, Role, Tables

NAME = "bf16"
NEEDS = "avx512_bf16"


class Brain:
    """Inputs, residual and weights of an operator rounded to bfloat16: the exponent of float32, 8 significant bits. Products and sums in float32."""

    name = NAME
    summary = "bfloat16 inputs and weights, where the CPU multiplies them"
    options = options("bfloat16")
    knobs: Mapping[str, str] = {}
    tolerance = 2e-2  # composed with what scales weights, they are rounded after that, not before

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        from mobiprox_core.configuration import KnobSetting

        return (KnobSetting.of(NAME),) if operator.kind in options.get("operators", OPERATORS) else ()

    def refusal(self, setting: KnobSetting, device: DeviceInfo) -> str | None:
        """Why no operator of a device can run a setting."""
        return None if NEEDS in device.features else f"'{device.name}' does not multiply bfloat16 ({NEEDS})"

    def slot(self, setting: KnobSetting) -> str:
        return "precision"

    def explain(self, setting: KnobSetting) -> str:
        return "multiplies in bfloat16, and sums in float32"

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """Rounds what is read, the residual too, and the weights."""
        from mobiprox_core.interfaces import Approximation

        from .reference import round_to_brain

        require_operator(setting, operator)
        return Approximation(input=round_to_brain, weight=round_to_brain, residual=round_to_brain)

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        from .storage import BRAIN, BRAIN_DEPTHWISE

        require_operator(setting, operator)
        weight = operator.constants["weight"]
        single = operator.kind == "conv" and operator["group"] == len(weight) > 1 and weight.shape[1] == 1
        return replace(tables, storage=BRAIN_DEPTHWISE if single else BRAIN)

    def form(self, setting: KnobSetting, operator: Operator, role: Role, device: DeviceInfo, statistics: Statistics | None) -> Form:
        """Everything is read as bfloat16. Raises InfeasibleSetting where the device cannot multiply it."""
        from .storage import BRAINS

        if (reason := self.refusal(setting, device)) is not None:
            raise InfeasibleSetting(f"'{setting}': {reason}", where=operator.name, mend=f"leave {NAME} out on this device")
        return BRAINS

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        from importlib.resources import files

        from mobiprox_core.tables import KernelSource

        source = files(__package__) / "kernels" / "brain.cl"
        return (KernelSource(str(source), source.read_text(encoding="utf-8"), ()),) if NEEDS in device.features else ()

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()
