"""The technique: where half precision applies, what it means, and the storage it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import InfeasibleSetting

if TYPE_CHECKING:
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting, Setting
    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import Form, KernelSource, Role, Tables

NAME = "fp16"
OPERATORS = ("conv", "dense")
FUNCTIONS = ("half_finish",)
ARITHMETICS = ("half", "float32")
IN_MEMORY = ("arithmetic", "float32")
"""The knob of halves that are computed with in float32."""


def options(what: str) -> Mapping[str, Any]:
    """The options' schema of a technique of this plugin."""
    operators = {
        "type": "array",
        "items": {"enum": list(OPERATORS)},
        "minItems": 1,
        "uniqueItems": True,
        "default": list(OPERATORS),
        "description": f"kinds of operators that may run in {what}",
    }
    return {"type": "object", "properties": {"operators": operators}, "required": []}


def require_operator(setting: KnobSetting, operator: Operator) -> None:
    if operator.kind not in OPERATORS:
        raise InfeasibleSetting(f"'{setting}' on a {operator.kind} operator: only {' and '.join(OPERATORS)} have it", where=operator.name)


class Half:
    """Inputs, weights and finished outputs of an operator rounded to IEEE half; the bias float32.

    A device with half arithmetic (cl_khr_fp16) multiplies and adds in half, within `tolerance`; any other refuses. With
    arithmetic=float32, on any device, halves are only stored: weights take half the memory, arithmetic is as dear as before.
    """

    name = NAME
    summary = "Half precision, where the device computes in it"
    options: Mapping[str, Any] = {
        **options("half precision"),
        "properties": {
            **options("half precision")["properties"],
            "arithmetic": {
                "type": "array",
                "items": {"enum": list(ARITHMETICS)},
                "minItems": 1,
                "uniqueItems": True,
                "default": [ARITHMETICS[0]],
                "description": "half: the device's own, refused where it has none; float32: halves in memory alone, on any device",
            },
        },
    }
    knobs: Mapping[str, str] = {"arithmetic": "float32: halves in memory alone; left out, half, which the device must have"}
    tolerance = 1e-2

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        from mobiprox_core.configuration import KnobSetting

        if operator.kind not in options.get("operators", OPERATORS):
            return ()
        known = {"half": KnobSetting.of(NAME), "float32": KnobSetting(NAME, (IN_MEMORY,))}
        return tuple(known[arithmetic] for arithmetic in options.get("arithmetic", ARITHMETICS[:1]))

    def options_of(self, setting: KnobSetting) -> Options:
        return {"arithmetic": [ARITHMETICS[1] if _in_memory(setting) else ARITHMETICS[0]]}

    def refusal(self, setting: KnobSetting, device: DeviceInfo) -> str | None:
        """Why no operator of a device can run a setting."""
        return None if device.fp16 or _in_memory(setting) else f"'{device.name}' does not compute in half precision (cl_khr_fp16)"

    def slot(self, setting: KnobSetting) -> str:
        return "precision"

    def explain(self, setting: KnobSetting) -> str:
        return "stores inputs and weights in half precision" + (", and computes in it" if not _in_memory(setting) else "")

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return False

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Mapping[str, npt.NDArray[Any]]) -> Approximation:
        """Rounds what is read, the weights, and what is written (after residual and activation)."""
        from mobiprox_core.interfaces import Approximation

        from .reference import round_to_half

        require_operator(setting, operator)
        return Approximation(input=round_to_half, weight=round_to_half, finish=round_to_half)

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Mapping[str, npt.NDArray[Any]]:
        return {}

    def edit(
        self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        from .storage import ARITHMETIC, STORAGE

        require_operator(setting, operator)
        return replace(tables, storage=STORAGE if _in_memory(setting) else ARITHMETIC)

    def form(self, setting: KnobSetting, operator: Operator, role: Role, device: DeviceInfo, statistics: Statistics | None) -> Form | None:
        """What is multiplied is read as halves; what is added to the result is not rounded before. Raises InfeasibleSetting where the device
        cannot compute in them.
        """
        from .storage import HALVES, ROUNDED

        if (reason := self.refusal(setting, device)) is not None:
            raise InfeasibleSetting(
                f"'{setting}': {reason}",
                where=operator.name,
                mend=f"leave {NAME} out on this device, or write '{NAME}(arithmetic=float32)' for halves in memory alone",
            )
        return None if role == "residual" else ROUNDED if _in_memory(setting) else HALVES

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        from importlib.resources import files

        from mobiprox_core.tables import KernelSource

        source = files(__package__) / "kernels" / "half.cl"
        return (KernelSource(str(source), source.read_text(encoding="utf-8"), FUNCTIONS),)

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()

    def exchange_ids(self) -> Mapping[int, Setting]:
        """HPVM's ids: 12 alone, 151-168 with perforation, 261-269 with filter sampling, in the order of 121-138 and 231-239."""
        from mobiprox_core.configuration import Setting

        half = Setting.of(NAME)
        perforations = [
            Setting.of("perforation", axis=axis, stride=stride, offset=offset)
            for stride in (2, 3, 4)
            for axis in ("columns", "rows")
            for offset in range(stride)
        ]
        samplings = [Setting.of("filter_sampling", stride=stride, offset=offset) for stride in (2, 3, 4) for offset in range(stride)]
        ids = {12: half}
        ids |= {151 + i: setting + half for i, setting in enumerate(perforations)}
        ids |= {261 + i: setting + half for i, setting in enumerate(samplings)}
        return ids


def _in_memory(setting: KnobSetting) -> bool:
    """Whether halves are only stored. Raises InfeasibleSetting for what is no setting of this technique."""
    if setting.params in ((), (IN_MEMORY,)):
        return bool(setting.params)
    raise InfeasibleSetting(f"'{setting}' is not one of this technique", mend=f"write it like '{NAME}' or '{NAME}(arithmetic=float32)'")
