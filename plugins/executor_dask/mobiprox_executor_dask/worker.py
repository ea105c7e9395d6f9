"""What runs on the workers: one device in each process, and the plan that was used last on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.interfaces import Device, Floats, Job, Runner
    from mobiprox_core.plan import DeviceInfo, ExecutionPlan

Chosen = tuple[str, Mapping[str, Any]]
"""A backend's name, and its options."""


class _Held:
    """The device of this process, and one plan on it. Tasks of several threads take turns."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.chosen: Chosen | None = None
        self.device: Device | None = None
        self.key: str | None = None
        self.runner: Runner | None = None

    def open(self, chosen: Chosen) -> Device:
        if self.device is None or self.chosen != chosen:
            from mobiprox_core import plugins

            self.drop()
            if self.device is not None:
                self.device.close()
            self.device, self.chosen = plugins.load().get("backend", chosen[0]).open(chosen[1]), chosen
        return self.device

    def load(self, chosen: Chosen, plan: ExecutionPlan, key: str) -> Runner:
        device = self.open(chosen)
        if self.runner is None or self.key != key:
            self.drop()
            self.runner, self.key = device.load(plan), key
        return self.runner

    def drop(self) -> None:
        if self.runner is not None:
            self.runner.close()
        self.runner = self.key = None


_held = _Held()


def info(chosen: Chosen) -> DeviceInfo | str:
    """The device of this worker; why there is none, as text."""
    from mobiprox_core.errors import MobiproxError

    with _held.lock:
        try:
            return _held.open(chosen).info
        except MobiproxError as fault:
            return str(fault)


def run(chosen: Chosen, plan: ExecutionPlan, key: str, inputs: Floats, job: Job) -> tuple[Floats, ...]:
    """float32[n, K] of the job's samples, for each of its runs."""
    import numpy as np

    from mobiprox_core.batches import filled
    from mobiprox_core.lab import scores

    with _held.lock:
        runner = _held.load(chosen, plan, key)
        batch = filled(inputs[np.array(job.samples, dtype=np.int64)], plan.batch)
        outputs = []
        for variants, resumed in job.runs:
            runner.select(variants)
            output = runner.run(batch) if resumed is None else runner.resume(resumed)
            outputs.append(scores(output)[: len(job.samples)].copy())
        return tuple(outputs)


def time(
    chosen: Chosen,
    plan: ExecutionPlan,
    key: str,
    sample: Floats,
    operators: Sequence[int] | None,
    variants: Sequence[Sequence[int]],
    seconds: float,
) -> list[npt.NDArray[np.float64]]:
    """Milliseconds, as `Runner.time` gives them, after one run of the sample, float32[batch, ...]."""
    with _held.lock:
        runner = _held.load(chosen, plan, key)
        runner.run(sample)
        return runner.time(operators, variants, seconds)
