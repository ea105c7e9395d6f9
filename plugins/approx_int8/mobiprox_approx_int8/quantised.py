"""The technique: which settings there are, what they mean, and the storage and forms that they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import InfeasibleSetting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.configuration import KnobSetting
    from mobiprox_core.graph import Graph, Operator
    from mobiprox_core.interfaces import Approximation, OperatorBuilder, Options, Statistics
    from mobiprox_core.plan import DeviceInfo
    from mobiprox_core.tables import Form, KernelSource, Role, Tables

    from .grid import Grid

    Fitted = Mapping[str, npt.NDArray[Any]]
    Floats = npt.NDArray[np.float32]

NAME = "int8"
OPERATORS = ("conv", "dense")
RANGES = ("quartic", "mse", "percentile", "minmax")
BITS = (8, 7)
MOST_ELEMENTS = (2**31 - 1) // (255 * 127)
"""Filter elements whose products a 32-bit sum can hold, whatever they are."""


class Quantised:
    """Inputs, residual and weights of an operator in 8-bit integers; products summed exactly in 32 bits; bias, activation and what follows
    in float32.

    Weights: one step per output channel, symmetric. Activations: one grid per tensor that holds zero, from calibration inputs. The
    bias makes up for what all that rounding does to the mean.
    """

    name = NAME
    summary = "8-bit integers for activations and weights, fitted after training"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "operators": {
                "type": "array",
                "items": {"enum": list(OPERATORS)},
                "minItems": 1,
                "uniqueItems": True,
                "default": list(OPERATORS),
                "description": "kinds of operators that may run in 8-bit integers",
            },
            "ranges": {
                "type": "array",
                "items": {"enum": list(RANGES)},
                "minItems": 1,
                "uniqueItems": True,
                "default": ["quartic"],
                "description": "how the range of an activation follows from the values seen: least fourth power of the error, least "
                "squared error, without the outermost 1/10000 at either end, or all of it",
            },
            "activations": {
                "type": "array",
                "items": {"enum": list(BITS)},
                "minItems": 1,
                "uniqueItems": True,
                "default": [8],
                "description": "bits of an activation; weights of 7 bits are as fast, and lose less",
            },
            "weights": {
                "type": "array",
                "items": {"enum": list(BITS)},
                "minItems": 1,
                "uniqueItems": True,
                "default": list(BITS),
                "description": "bits of a weight: 7 are faster where the CPU has AVX2 but no VNNI",
            },
        },
        "required": [],
    }
    knobs: Mapping[str, str] = {
        "activations": "bits of an activation: 7; left out, 8",
        "weights": "bits of a weight: 7; left out, 8",
        "range": "how the range of an activation follows from the values seen: mse, percentile or minmax; left out, quartic",
    }
    tolerance = 1e-2

    def settings(self, operator: Operator, graph: Graph, options: Options) -> Iterable[KnobSetting]:
        from mobiprox_core.configuration import KnobSetting

        if operator.kind not in options.get("operators", OPERATORS) or operator.constants["weight"][0].size > MOST_ELEMENTS:
            return ()
        usual, knobs = (BITS[0], RANGES[0]), ("activations", "range", "weights")
        values = (options.get("activations", BITS[:1]), options.get("ranges", RANGES[:1]), options.get("weights", BITS))
        return tuple(
            KnobSetting(NAME, tuple((knob, value) for knob, value in zip(knobs, choice, strict=True) if value not in usual))
            for choice in product(*values)
        )

    def slot(self, setting: KnobSetting) -> str:
        return "precision"

    def options_of(self, setting: KnobSetting) -> Options:
        bits, how, own = _knobs(setting)
        return {"activations": [bits], "ranges": [how], "weights": [own]}

    def explain(self, setting: KnobSetting) -> str:
        bits, _, own = _knobs(setting)
        return f"multiplies {bits}-bit activations by {own}-bit weights, and sums in 32 bits"

    def needs_statistics(self, setting: KnobSetting) -> bool:
        return True

    def prepare(self, setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Fitted:
        """codes float32[O, K] and steps float32[O] of the weights, the grids, and of what each filter sees: mean float32[O, K], change
        float32[O, K] of that by rounding activations, and residual_change float32[O].
        """
        import numpy as np

        from . import rounding

        known, largest = _known(setting, operator, statistics), _largest(setting)
        weight = operator.constants["weight"]

        def work() -> Fitted:
            moments = known.moments()
            codes, steps = rounding.rounded(moments, weight, largest)
            return {"codes": codes.astype(np.int8), "steps": steps, "mean": _per_filter(moments.mean, weight)}

        fitted = dict(known.once(f"{NAME} weights to {largest}, {rounding.VERSION}", work))
        roles: tuple[Role, ...] = ("input",) if operator.residual is None else ("input", "residual")
        for role in roles:
            grid = _grid(setting, operator, role, known)
            fitted[role] = np.array([grid.scale, grid.zero, grid.top], np.float64)
            change = _change(grid, role, known)
            if role == "input":
                fitted["change"] = _per_filter(change, weight)
            else:
                fitted["residual_change"] = change.astype(np.float32)
        return fitted

    def reference(self, setting: KnobSetting, operator: Operator, graph: Graph, fitted: Fitted) -> Approximation:
        """Rounds what is read and the weights, and shifts the bias so that the mean stays."""
        from mobiprox_core.interfaces import Approximation

        from . import rounding

        weights = _Weights(operator, fitted, _largest(setting))
        return Approximation(
            input=_of(fitted, "input").nearest,
            residual=None if operator.residual is None else _of(fitted, "residual").nearest,
            weight=lambda weight: weights.rounded(weight.reshape(len(weight), -1)).reshape(weight.shape),
            bias=lambda bias: bias + weights.shift,
            representable=partial(rounding.representable, largest=_largest(setting)),
        )

    def edit(self, setting: KnobSetting, operator: Operator, tables: Tables, device: DeviceInfo, fitted: Fitted) -> Tables:
        """Weights rounded, bias shifted; the integers themselves are made last, so that other edits see real values."""
        from .storage import encoding, storage

        _require(setting, operator)
        largest = _largest(setting)
        weights = _Weights(operator, fitted, largest)
        rounded = weights.rounded(tables.weight, tables.taps)
        grid = _of(fitted, "input")
        return replace(
            tables,
            weight=rounded,
            bias=tables.bias + weights.shift,
            storage=storage(operator, device, grid.top, largest),
            encode=encoding(grid, weights.steps, largest),
        )

    def form(self, setting: KnobSetting, operator: Operator, role: Role, device: DeviceInfo, statistics: Statistics | None) -> Form:
        """What is multiplied, and what is added to the result, is read as bytes."""
        from .storage import form

        return form(_grid(setting, operator, role, _known(setting, operator, statistics)))

    def kernels(self, device: DeviceInfo) -> Sequence[KernelSource]:
        from importlib.resources import files

        from mobiprox_core.tables import KernelSource

        from .storage import body

        source = files(__package__) / "kernels" / "int8.cl"
        text = f"#define INT8_{body(device).upper()}\n{source.read_text(encoding='utf-8')}"
        return (KernelSource(str(source), text, ()),)

    def lower(self, setting: KnobSetting, operator: Operator, builder: OperatorBuilder) -> bool:
        return False

    def couplings(self, graph: Graph) -> Iterable[tuple[str, ...]]:
        return ()


class _Weights:
    """Rounded weights of one operator. After `rounded`: steps float32[O], and shift float32[O], what rounding all that is read takes from the mean."""

    def __init__(self, operator: Operator, fitted: Fitted, largest: int) -> None:
        self._original = operator.constants["weight"].reshape(len(operator.constants["weight"]), -1)
        self._fitted, self._largest = fitted, largest

    def rounded(self, weight: Floats, taps: npt.NDArray[np.int64] | None = None) -> Floats:
        """float32[O, T]: of the weights of these filter elements (all, if None). Those that no other technique touched are fitted ones."""
        import numpy as np

        from .grid import codes, steps

        mean, change = (self._fitted[name] if taps is None else self._fitted[name][:, taps] for name in ("mean", "change"))
        if np.array_equal(weight, self._original):
            self.steps = self._fitted["steps"]
            result = self._fitted["codes"].astype(np.float32) * self.steps[:, None]
        else:
            self.steps = steps(weight, self._largest)
            result = codes(weight, self.steps, self._largest) * self.steps[:, None]
        shift = ((weight.astype(np.float64) - result) * mean - result * change).sum(1) - self._fitted.get("residual_change", 0)
        self.shift = np.asarray(shift, np.float32)
        return result


def _per_filter(of_groups: npt.NDArray[np.float64], weight: Floats) -> Floats:
    """float32[O, K] of float64[G, K]."""
    import numpy as np

    return np.repeat(of_groups, len(weight) // len(of_groups), axis=0).astype(np.float32)


def _knobs(setting: KnobSetting) -> tuple[int, str, int]:
    """Bits of an activation, how its range follows, and bits of a weight."""
    knobs = dict(setting.params)
    bits, how, own = knobs.pop("activations", BITS[0]), knobs.pop("range", RANGES[0]), knobs.pop("weights", BITS[0])
    if bits not in BITS or how not in RANGES or own not in BITS or knobs:
        raise InfeasibleSetting(f"'{setting}' is not one of this technique", mend=f"write it like '{NAME}' or '{NAME}(weights=7)'")
    return int(bits), str(how), int(own)


def _largest(setting: KnobSetting) -> int:
    """The largest integer of a weight."""
    from .grid import LARGEST, PAIRED

    return LARGEST if _knobs(setting)[2] == BITS[0] else PAIRED


def _of(fitted: Fitted, role: Role) -> Grid:
    import numpy as np

    from .grid import Grid

    scale, zero, top = fitted[role]
    return Grid(np.float32(scale), int(zero), int(top))


def _grid(setting: KnobSetting, operator: Operator, role: Role, statistics: Statistics) -> Grid:
    """Of what an operator reads."""
    import numpy as np

    from . import grid

    bits, how, _ = _knobs(setting)

    def work() -> Fitted:
        found = grid.grid(statistics.values(role), bits, how)
        return {"grid": np.array([found.scale, found.zero, found.top], np.float64)}

    return _of({role: statistics.once(f"{NAME} {role}, {bits} bits, {how}, {grid.VERSION}", work)["grid"]}, role)


def _change(grid: Grid, role: Role, statistics: Statistics) -> npt.NDArray[np.float64]:
    """What rounding what is read to a grid adds to means."""
    from .grid import VERSION

    place = f"{NAME} {role} means, {grid}, {VERSION}"
    return statistics.once(place, lambda: {"change": statistics.mean_change(role, grid.nearest)})["change"]


def _known(setting: KnobSetting, operator: Operator, statistics: Statistics | None) -> Statistics:
    _require(setting, operator)
    if statistics is None:
        raise InfeasibleSetting.unfitted(setting, operator.name)
    return statistics


def _require(setting: KnobSetting, operator: Operator) -> None:
    if operator.kind not in OPERATORS:
        raise InfeasibleSetting(f"'{setting}' on a {operator.kind} operator: only {' and '.join(OPERATORS)} have it", where=operator.name)
    if (elements := operator.constants["weight"][0].size) > MOST_ELEMENTS:
        raise InfeasibleSetting(
            f"'{setting}': sums over {elements} elements may overflow 32 bits; {MOST_ELEMENTS} are safe", where=operator.name
        )
