"""Several phones of one kind as one device: each has a worker of its own, and all work at once.

Timing is split: every phone measures all choices side by side for its share of the time, and the samples are put together. Batches of
data are split too. What has to be in every phone's memory (a run that others go on from) every phone does. A phone that is lost for
good is left out as long as another is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mobiprox_core.errors import DeviceError
from mobiprox_core.plan import ExecutionPlan

from .device import AndroidDevice, AndroidRunner

Floats = npt.NDArray[np.float32]
T = TypeVar("T")
S = TypeVar("S")

log = logging.getLogger(__name__)

ALIKE = ("name", "kind", "isa", "block", "vector", "threads", "fp16", "driver", "runtime")
"""What phones must have in common to be measured as one device."""

AGREE = 1e-3
"""Greatest difference between two phones' outputs, relative to the largest one."""


class Fleet:
    """Phones of one kind."""

    unproven = True

    def __init__(self, devices: Sequence[AndroidDevice]) -> None:
        """Raises DeviceError where they are not of one kind."""
        self.devices = list(devices)
        self.info = devices[0].info
        for other in devices[1:]:
            for what in ALIKE:
                ours, theirs = getattr(self.info, what), getattr(other.info, what)
                if ours != theirs:
                    raise DeviceError(
                        f"'{devices[0].phone.serial}' and '{other.phone.serial}' are different devices: {what} is '{ours}' and '{theirs}'",
                        mend="run one experiment for each kind of phone",
                    )
        self._pool = ThreadPoolExecutor(len(devices), thread_name_prefix="phone")

    def load(self, plan: ExecutionPlan) -> FleetRunner:
        """The plan on every phone."""
        runners = self.each(self.devices, lambda device: device.load(plan))
        return FleetRunner(self, plan, [runner for _, runner in runners])

    def close(self) -> None:
        for device in self.devices:
            device.close()
        self._pool.shutdown()

    def shell(self, script: str) -> str:
        """Raises DeviceError: whoever asks means one phone."""
        raise DeviceError("energy is measured on one phone at a time", mend="name one with 'serial'")

    def remarks(self) -> dict[str, Any]:
        return {"phones": [device.remarks() for device in self.devices]}

    def each(self, workers: Sequence[S], work: Callable[[S], T]) -> list[tuple[S, T]]:
        """Work on all at once: (worker, result) of those that could. Raises DeviceError where none could."""
        futures = [(worker, self._pool.submit(work, worker)) for worker in workers]
        done, lost = [], []
        for worker, future in futures:
            try:
                done.append((worker, future.result()))
            except DeviceError as fault:
                lost.append(fault)
        if not done:
            raise lost[0]
        for reason in lost:
            log.warning("goes on without a phone: %s", reason)
        return done


class FleetRunner:
    """A plan on several phones."""

    def __init__(self, fleet: Fleet, plan: ExecutionPlan, runners: Sequence[AndroidRunner]) -> None:
        self.fleet = fleet
        self.plan = plan
        self.runners = list(runners)

    @property
    def variants(self) -> tuple[int, ...]:
        """The variant of every operator that the next run uses."""
        return self.runners[0].variants

    def select(self, variants: Sequence[int]) -> None:
        for runner in self.runners:
            runner.select(variants)

    def set_level(self, level: int) -> None:
        for runner in self.runners:
            runner.set_level(level)

    def run(self, *inputs: Floats) -> Floats | tuple[Floats, ...]:
        """On every phone, which must agree."""
        return self._agreed(lambda runner: runner.run(*inputs))

    def resume(self, operator: int) -> Floats | tuple[Floats, ...]:
        return self._agreed(lambda runner: runner.resume(operator))

    def tensor(self, name: str) -> Floats:
        return self.runners[0].tensor(name)

    def run_many(self, inputs: Floats) -> Floats | tuple[Floats, ...]:
        """Batches, split over the phones."""
        batch, count = self.plan.batch, len(inputs) // self.plan.batch
        results: dict[int, Floats | tuple[Floats, ...]] = {}
        missing = list(range(count))
        while missing:
            shares = [missing[i :: len(self.runners)] for i in range(len(self.runners))]
            work = [(runner, share) for runner, share in zip(self.runners, shares, strict=True) if share]

            def one(pair: tuple[AndroidRunner, list[int]]) -> Floats | tuple[Floats, ...]:
                return pair[0].run_many(np.concatenate([inputs[i * batch : (i + 1) * batch] for i in pair[1]]))

            done = self.fleet.each(work, one)
            self._keep([runner for (runner, _), _ in done] + [r for r in self.runners if r not in [w[0] for w in work]])
            for (_, share), output in done:
                for k, i in enumerate(share):
                    results[i] = (
                        tuple(o[k * batch : (k + 1) * batch] for o in output)
                        if isinstance(output, tuple)
                        else output[k * batch : (k + 1) * batch]
                    )
            missing = [i for i in range(count) if i not in results]
        whole = [results[i] for i in range(count)]
        if isinstance(whole[0], tuple):
            return tuple(np.concatenate([w[o] for w in whole]) for o in range(len(whole[0])))
        return np.concatenate([w for w in whole if not isinstance(w, tuple)])

    def time(self, operators: Sequence[int] | None, variants: Sequence[Sequence[int]], seconds: float) -> list[npt.NDArray[np.float64]]:
        """Samples of all phones, each for its share of the time; of every phone as many."""
        done = self.fleet.each(self.runners, lambda runner: runner.time(operators, variants, seconds / len(self.runners)))
        self._keep([runner for runner, _ in done])
        rounds = min(len(samples) for _, every in done for samples in every)
        return [np.concatenate([every[i][:rounds] for _, every in done]) for i in range(len(variants))]

    def close(self) -> None:
        for runner in self.runners:
            runner.close()

    def _agreed(self, work: Callable[[AndroidRunner], Floats | tuple[Floats, ...]]) -> Floats | tuple[Floats, ...]:
        done = self.fleet.each(self.runners, work)
        self._keep([runner for runner, _ in done])
        (first, output), *others = done
        for runner, other in others:
            for one, two in zip(_tuple(output), _tuple(other), strict=True):
                scale = max(float(np.abs(one).max(initial=0)), 1e-6)
                if np.isfinite(one).all() and np.isfinite(two).all() and float(np.abs(one - two).max(initial=0)) > AGREE * scale:
                    raise DeviceError(
                        f"'{first.phone.serial}' and '{runner.phone.serial}' give different results for '{self.plan.name}'",
                        mend="one of them is broken: run the experiment on each alone",
                    )
        return output

    def _keep(self, runners: list[AndroidRunner]) -> None:
        for lost in [runner for runner in self.runners if runner not in runners]:
            self.fleet.devices = [device for device in self.fleet.devices if device is not lost.device]
        self.runners = [runner for runner in self.runners if runner in runners]


def _tuple(output: Floats | tuple[Floats, ...]) -> tuple[Floats, ...]:
    return output if isinstance(output, tuple) else (output,)
