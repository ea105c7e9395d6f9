"""Runners behind `mbx-run --serve`, wherever it runs: commands and answers are lines of JSON, tensors are raw bytes after them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mobiprox_core.bundle import Bundle
from mobiprox_core.configuration import Configuration
from mobiprox_core.errors import DataError, DeviceError, UsageError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration
from mobiprox_core.isa import FLAGS, VECTOR, features
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.plan import DeviceInfo, ExecutionPlan, Slot

Floats = npt.NDArray[np.float32]


class Pipe(Protocol):
    """Both ends of a running `mbx-run`."""

    def write(self, data: bytes) -> None: ...

    def readline(self) -> bytes:
        """With its newline; without one where the stream has ended."""

    def read(self, count: int) -> bytes:
        """Less only where the stream has ended."""


class Ended(Exception):
    """The stream ended before the answer was whole."""


def ask(pipe: Pipe, command: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
    """The answer to a command, and the bytes that come with it. Raises DeviceError for a refusal, Ended where no answer came."""
    size = {"bytes": len(payload)} if payload else {}
    pipe.write(json.dumps({**command, **size}).encode() + b"\n" + payload)
    return answer(pipe)


def answer(pipe: Pipe) -> tuple[dict[str, Any], bytes]:
    """The next line, and the bytes that it announces. Raises as `ask`."""
    line = pipe.readline()
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise Ended(line.decode(errors="replace").strip()) from error
    if event["event"] == "end" and event.get("ok"):
        raise Ended("it ended before it was told to")
    if event["event"] in ("failed", "end"):
        raise DeviceError(f"the native runtime failed: {event.get('error')}")
    content = pipe.read(int(event.get("bytes", 0)))
    if len(content) < event.get("bytes", 0):
        raise Ended("the stream was cut within a tensor")
    return event, content


def info_of(found: Mapping[str, Any], isa: str, threads: int | None) -> DeviceInfo:
    """What lowering may use of a device that `mbx-run --devices` described. Raises DeviceError for an instruction set it lacks."""
    cpu = found["kind"] == "cpu"
    if isa == "auto":
        isa = found["isas"][0]
    elif isa not in found["isas"]:
        needed = f"a CPU with {', '.join(sorted(FLAGS[isa]))}" if cpu else "a CPU"
        raise DeviceError(f"instruction set '{isa}' needs {needed}; '{found['name']}' has {', '.join(found['isas'])}", mend="use isa: auto")
    units = int(found["compute_units"])
    return DeviceInfo(
        name=found["name"],
        driver=found["driver"],
        runtime=found["runtime"],
        kind="cpu" if cpu else "gpu",
        isa=isa,
        features=features(isa, set(found["features"]), set(found["features"])),
        block=16 if cpu else 4,
        vector=VECTOR[isa],
        threads=min(threads or units, units) if cpu else units,
        fp16=bool(found["fp16"]),
        max_alloc_bytes=int(found["max_alloc_bytes"]),
    )


def check_plan(plan: ExecutionPlan, info: DeviceInfo) -> None:
    """Raises DeviceError where a plan was lowered for another shape of device."""
    for what in ("kind", "block", "vector", "isa"):
        wanted, own = getattr(plan.device, what), getattr(info, what)
        if wanted != own:
            raise DeviceError(
                f"the plan is for a {plan.device.kind} with {plan.device.isa} instructions and {plan.device.vector}-wide vectors "
                f"({plan.device.name}), not for '{info.name}' ({info.kind}, {info.isa}, {info.vector}-wide): {what} is {wanted}, not {own}",
                mend="run the experiment with this backend, so that the network is lowered for this device",
            )


def unmeasured(plan: ExecutionPlan) -> Bundle:
    """The plan as a bundle that nobody measured: for the runtime, which wants a plan only."""
    nothing = ClassConfidence(0, 0, None, None)
    calibration = LevelCalibration(1.0, None, 1.0, nothing, (nothing,) * max(1, prod(plan.outputs[0].shape[1:])))
    points = tuple(
        OperatingPoint(Configuration({o.name: o.variants[v].setting for o, v in zip(plan.operators, level, strict=True)}), 0.0, 0.0)
        for level in plan.levels
    )
    return Bundle(plan, Choice("native", {}), points, (calibration,) * len(points))


class ServedRunner(ABC):
    """A plan in a serving runtime. Whoever derives from it says how commands get there: `_ask`."""

    def __init__(self, plan: ExecutionPlan) -> None:
        self.plan = plan
        self._variants = plan.levels[0]
        self._choice: Mapping[str, Any] = {"do": "level", "level": 0}
        self._chosen: Mapping[str, Any] | None = None  # what the runtime was last told

    @abstractmethod
    def _ask(self, command: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """As `ask`, in the present process of the runtime."""

    @property
    def variants(self) -> tuple[int, ...]:
        """The variant of every operator that the next run uses."""
        return self._variants

    def select(self, variants: Sequence[int]) -> None:
        """Choose a variant for every operator."""
        if len(variants) != len(self.plan.operators) or any(
            not 0 <= v < len(o.variants) for v, o in zip(variants, self.plan.operators, strict=True)
        ):
            raise UsageError(f"{list(variants)} is not one variant for each of {len(self.plan.operators)} operators")
        self._variants = tuple(variants)
        self._choice = {"do": "select", "variants": list(self._variants)}

    def set_level(self, level: int) -> None:
        """Choose one of the plan's levels."""
        self._variants = self.plan.levels[level]
        self._choice = {"do": "level", "level": level}

    def run(self, *inputs: Floats) -> Floats | tuple[Floats, ...]:
        """One batch: float32 arrays of exactly the plan's shapes; the output, or a tuple of several."""
        if [x.shape for x in inputs] != [slot.shape for slot in self.plan.inputs] or any(x.dtype != np.float32 for x in inputs):
            wanted = ", ".join(f"float32{list(slot.shape)}" for slot in self.plan.inputs)
            given = ", ".join(f"{x.dtype}{list(x.shape)}" for x in inputs)
            raise DataError(f"the network takes {wanted}, not {given}", mend="convert it with numpy.asarray(x, dtype=numpy.float32)")
        self._choose()
        return self._outputs(self._ask({"do": "run"}, b"".join(x.tobytes() for x in inputs))[1])

    def resume(self, operator: int) -> Floats | tuple[Floats, ...]:
        """Run from an operator (index) to the end, on the activations that earlier runs left."""
        self._choose()
        return self._outputs(self._ask({"do": "resume", "operator": operator})[1])

    def tensor(self, name: str) -> Floats:
        """An activation that the last run left, float32 of its logical shape. Needs keep_activations."""
        slot = next((slot for slot in self.plan.tensors if slot.name == name), None)
        if slot is None:
            raise UsageError(f"the plan of '{self.plan.name}' keeps no activation called '{name}'", mend="lower it with keep_activations")
        return self._arrays([slot], self._ask({"do": "tensor", "name": name})[1])[0]

    def time(self, operators: Sequence[int] | None, variants: Sequence[Sequence[int]], seconds: float) -> list[npt.NDArray[np.float64]]:
        """Milliseconds per execution for each choice of variants, by the runtime's own clock; as `interfaces.Runner.time`."""
        chosen = None if operators is None else list(operators)
        answer, _ = self._ask({"do": "time", "operators": chosen, "variants": [list(v) for v in variants], "seconds": seconds})
        self._chosen = None  # the runtime stays at what it timed last
        return [np.array(samples, dtype=np.float64) for samples in answer["ms"]]

    def _choose(self) -> None:
        """Tell the runtime what to run, unless it knows."""
        if self._chosen != self._choice:
            self._ask(self._choice)
            self._chosen = self._choice

    def _outputs(self, content: bytes) -> Floats | tuple[Floats, ...]:
        outputs = self._arrays(self.plan.outputs, content)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    @staticmethod
    def _arrays(slots: Sequence[Slot], content: bytes) -> list[Floats]:
        sizes = [prod(slot.shape) for slot in slots]
        values = np.frombuffer(content, dtype=np.float32).copy()
        if len(values) != sum(sizes):
            raise DeviceError(f"the native runtime gave {len(values)} numbers, not {sum(sizes)}")
        return [part.reshape(slot.shape) for part, slot in zip(np.split(values, np.cumsum(sizes)[:-1]), slots, strict=True)]
