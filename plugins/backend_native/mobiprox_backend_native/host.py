"""Devices and runners behind `mbx-run`: plans go there as bundles, commands and answers as lines of JSON, tensors as files."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mobiprox_core import bundle as bundles
from mobiprox_core.bundle import Bundle
from mobiprox_core.cache import cache_folder
from mobiprox_core.configuration import Configuration
from mobiprox_core.errors import DataError, DeviceError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import ClassConfidence, DeviceReport, LevelCalibration, Options
from mobiprox_core.isa import FLAGS, VECTOR, cpu_flags
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.plan import DeviceInfo, ExecutionPlan, Slot

from .build import build_runner, host_environment

Floats = npt.NDArray[np.float32]


def reports() -> Sequence[DeviceReport]:
    """Every device that the runtime finds, or the reason why it finds none."""
    try:
        return [DeviceReport("native", d["index"], d["name"], info=_info(d, "auto", None)) for d in _found()]
    except DeviceError as fault:
        return [DeviceReport("native", 0, "none", problem=fault.what.partition("\n")[0], mend=fault.mend)]


def open_device(options: Options) -> NativeDevice:
    """The device that the options choose. Raises DeviceError where none or several fit, or the runtime cannot be built."""
    found, wanted, threads = _found(), options.get("device", "auto"), options.get("threads")
    listing = "; ".join(f"{d['index']}: {d['name']}" for d in found) or "none"
    fitting = [
        d for d in found if wanted == "auto" or (d["index"] == wanted if isinstance(wanted, int) else wanted.lower() in d["name"].lower())
    ]
    if len(fitting) > 1:  # PoCL offers the CPU twice: with all threads, and with the calling one only
        fitting = [d for d in fitting if (d["compute_units"] == 1) == (threads == 1)] or fitting
    if not fitting or (len(fitting) > 1 and wanted != "auto"):
        raise DeviceError(f"'{wanted}' means {len(fitting) or 'none'} of the devices", mend=f"devices are: {listing}")
    return NativeDevice(_info(fitting[0], options.get("isa", "auto"), threads))


def _runner() -> Path:
    return build_runner(cache_folder() / "native")


def _found() -> list[dict[str, Any]]:
    done = subprocess.run([str(_runner()), "--devices"], capture_output=True, text=True, env=host_environment(), check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if not events or not events[-1].get("ok"):
        reason = events[-1].get("error") if events else f"it ended with {done.returncode}"
        raise DeviceError(f"the native runtime finds no OpenCL: {reason}", mend="pip install 'pyopencl[pocl]' brings one for the CPU")
    return [event for event in events if event["event"] == "device"]


def _info(found: Mapping[str, Any], isa: str, threads: int | None) -> DeviceInfo:
    """What lowering may use of a device that `--devices` described."""
    cpu = found["kind"] == "cpu"
    flags = cpu_flags() if cpu else set()
    if isa == "auto":
        isa = next(name for name, needs in FLAGS.items() if needs <= flags)
    elif not FLAGS[isa] <= flags:
        raise DeviceError(f"instruction set '{isa}' needs a CPU with {', '.join(sorted(FLAGS[isa] - flags))}", mend="use isa: auto")
    units = int(found["compute_units"])
    return DeviceInfo(
        name=found["name"],
        driver=found["driver"],
        runtime=found["runtime"],
        kind="cpu" if cpu else "gpu",
        isa=isa,
        block=16 if cpu else 4,
        vector=VECTOR[isa],
        threads=min(threads or units, units) if cpu else units,
        fp16=bool(found["fp16"]),
        max_alloc_bytes=int(found["max_alloc_bytes"]),
    )


class NativeDevice:
    """An OpenCL device, driven by the native runtime."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info

    def load(self, plan: ExecutionPlan) -> NativeRunner:
        """Start a runtime of its own with the plan; it builds, allocates and warms everything."""
        return NativeRunner(self.info, plan)

    def close(self) -> None:
        """Nothing stays open but runners."""


class NativeRunner:
    """A plan in a process of the native runtime. Ends with `close`, or with this process."""

    def __init__(self, info: DeviceInfo, plan: ExecutionPlan) -> None:
        self.plan = plan
        self._variants = plan.levels[0]
        self._folder = tempfile.TemporaryDirectory(prefix="mobiprox-")
        self._in, self._out = (str(Path(self._folder.name) / name) for name in ("inputs", "outputs"))
        bundle = Path(self._folder.name) / "bundle"
        bundles.write(_unmeasured(plan), bundle)
        command = [str(_runner()), "--serve", str(bundle), "--device", info.name, "--threads", str(info.threads)]
        command += ["--cache", str(cache_folder() / "native")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=host_environment()
        )
        self._answer()  # what it runs on, once everything is built

    @property
    def variants(self) -> tuple[int, ...]:
        """The variant of every operator that the next run uses."""
        return self._variants

    def select(self, variants: Sequence[int]) -> None:
        """Choose a variant for every operator."""
        self._ask(do="select", variants=list(variants))
        self._variants = tuple(variants)

    def set_level(self, level: int) -> None:
        """Choose one of the plan's levels."""
        self._ask(do="level", level=level)
        self._variants = self.plan.levels[level]

    def run(self, *inputs: Floats) -> Floats | tuple[Floats, ...]:
        """One batch: float32 arrays of exactly the plan's shapes; the output, or a tuple of several."""
        if [x.shape for x in inputs] != [slot.shape for slot in self.plan.inputs] or any(x.dtype != np.float32 for x in inputs):
            wanted = ", ".join(f"float32{list(slot.shape)}" for slot in self.plan.inputs)
            given = ", ".join(f"{x.dtype}{list(x.shape)}" for x in inputs)
            raise DataError(f"the network takes {wanted}, not {given}", mend="convert it with numpy.asarray(x, dtype=numpy.float32)")
        np.concatenate([x.ravel() for x in inputs]).tofile(self._in)
        self._ask(do="run", inputs=self._in, outputs=self._out)
        return self._outputs()

    def resume(self, operator: int) -> Floats | tuple[Floats, ...]:
        """Run from an operator (index) to the end, on the activations that earlier runs left."""
        self._ask(do="resume", operator=operator, outputs=self._out)
        return self._outputs()

    def tensor(self, name: str) -> Floats:
        """An activation that the last run left, float32 of its logical shape. Needs keep_activations."""
        self._ask(do="tensor", name=name, outputs=self._out)
        (slot,) = (slot for slot in self.plan.tensors if slot.name == name)
        return self._read([slot])[0]

    def time(self, operators: Sequence[int] | None, variants: Sequence[Sequence[int]], seconds: float) -> list[npt.NDArray[np.float64]]:
        """Milliseconds per execution for each choice of variants, by the runtime's own clock; as `interfaces.Runner.time`."""
        chosen = None if operators is None else list(operators)
        answer = self._ask(do="time", operators=chosen, variants=[list(v) for v in variants], seconds=seconds)
        return [np.array(samples, dtype=np.float64) for samples in answer["ms"]]

    def close(self) -> None:
        """End the process and remove its files."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def _outputs(self) -> Floats | tuple[Floats, ...]:
        outputs = self._read(self.plan.outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _read(self, slots: Sequence[Slot]) -> list[Floats]:
        sizes = [int(np.prod(slot.shape)) for slot in slots]
        parts = np.split(np.fromfile(self._out, dtype=np.float32), np.cumsum(sizes)[:-1])
        return [part.reshape(slot.shape) for part, slot in zip(parts, slots, strict=True)]

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it ended: the answer says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        event: dict[str, Any] = json.loads(line) if line else {}
        if not line or event["event"] in ("failed", "end"):
            last = (self._process.stderr.read().strip().splitlines() or ["no message"])[-1] if not line else event.get("error")
            raise DeviceError(f"the native runtime failed on '{self.plan.name}': {last}")
        return event


def _unmeasured(plan: ExecutionPlan) -> Bundle:
    """The plan as a bundle that nobody measured: for the runtime, which wants a plan only."""
    nothing = ClassConfidence(0, 0, None, None)
    calibration = LevelCalibration(1.0, None, 1.0, nothing, (nothing,) * max(1, prod(plan.outputs[0].shape[1:])))
    points = tuple(
        OperatingPoint(Configuration({o.name: o.variants[v].setting for o, v in zip(plan.operators, level, strict=True)}), 0.0, 0.0)
        for level in plan.levels
    )
    return Bundle(plan, Choice("native", {}), points, (calibration,) * len(points))
