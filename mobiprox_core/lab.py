"""Where configurations are run for real: lowered, loaded on the device, timed, and fed with data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from . import tuning
from .batches import filled, sized
from .configuration import EXACT_CONFIGURATION, Configuration, KnobSetting, KnobSpace, OpId, Setting
from .correction import CorrectionsOf, none
from .energy import Energy, measure
from .errors import DeviceError, InfeasibleSetting
from .interfaces import Device, Job, Meter, Progress, ProgressSink, Runner, Statistics, Technique, Workforce
from .lowering import lower

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .interfaces import Floats
    from .lowering.ways import Way
    from .network import Network
    from .plan import DeviceInfo, ExecutionPlan
    from .recalibration import Recalibrator
    from .statistics import Calibration


MOST_WRONG = 1e-3
"""Greatest difference of an exact output from the reference, relative to the largest one, on a device that is unproven."""


class Lab:
    """One network on one opened device. A context manager: whatever it loaded is closed at the end.

    A device that says of itself ``unproven`` runs the exact network beside the reference first. meter: of that device; None: energy is not
    measured.
    """

    def __init__(
        self,
        network: Network,
        device: Device,
        techniques: Mapping[str, Technique],
        sample: Floats,
        calibration: Calibration | None = None,
        recalibrator: Recalibrator | None = None,
    ) -> None:
        """sample: float32[>= 1, ...], an input to time with, so that zeros do not flatter. calibration: None where nothing is fitted;
        recalibrator: None where levels are not corrected."""
        self.network = network
        self.sample = sample
        self.device = device
        self.techniques = techniques
        self.calibration = calibration
        self.corrections: CorrectionsOf = none if recalibrator is None else recalibrator
        self.meter: Meter | None = None
        self.ways: Mapping[str, Way] = {}
        self.workforce: Workforce | None = None
        self._fitted: set[tuple[OpId, KnobSetting]] = set()
        self._loaded: tuple[tuple[object, ...], Runner] | None = None

    def __enter__(self) -> Lab:
        if getattr(self.device, "unproven", False):
            self.prove()
        return self

    def __exit__(self, *_: object) -> None:
        self.unload()
        if self.workforce is not None:
            self.workforce.close()

    @property
    def single(self) -> int:
        """The batch size of one inference."""
        return self.network.batch or 1

    @property
    def many(self) -> int:
        """The batch size for going through data: as many inputs as the device keeps all activations of."""
        return self.network.batch or sized(self.network.at_batch(1), self.device.info)

    def statistics(self, op: OpId) -> Statistics | None:
        """What is known of an operator on calibration inputs."""
        return None if self.calibration is None else self.calibration(op)

    def fit(self, space: KnobSpace, progress: ProgressSink) -> None:
        """See to it that everything is fitted that the settings of a space need; only what no earlier run has fitted takes time."""
        graph = self.network.at_batch(self.single)
        every = dict.fromkeys((op, knobs) for op in space for setting in space[op] for knobs in setting)
        wanted = [key for key in every if key not in self._fitted and self.techniques[key[1].technique].needs_statistics(key[1])]
        if self.calibration is not None:
            self.calibration.collect(dict.fromkeys(op for op, _ in wanted))
        for done, (op, knobs) in enumerate(wanted):
            progress(Progress("calibrate", done, len(wanted), f"fit of {op}"))
            self._fitted.add((op, knobs))
            with suppress(InfeasibleSetting):  # whoever lowers it will find out
                self.techniques[knobs.technique].prepare(knobs, graph[op], self.statistics(op))

    def tune(self, levels: Sequence[Configuration], progress: ProgressSink) -> None:
        """Find out how to compute the exact network and these levels fastest; see `tuning`."""
        graph = self.network.at_batch(self.single)
        self.ways = tuning.tuned(graph, self.device, self.techniques, levels, statistics=self.statistics, progress=progress)

    def lower(self, configurations: Sequence[Configuration], batch: int) -> ExecutionPlan:
        """The plan with these levels; the first is exact."""
        return self.plan(batch, {}, configurations)

    def plan(
        self,
        batch: int,
        settings: Mapping[OpId, Sequence[Setting]],
        levels: Sequence[Configuration] = (),
        *,
        keep_activations: bool = False,
        info: DeviceInfo | None = None,
    ) -> ExecutionPlan:
        """As `lowering.lower`, for this network and this device, or another."""
        return lower(
            self.network.at_batch(batch),
            info or self.device.info,
            self.techniques,
            settings,
            levels,
            keep_activations=keep_activations,
            statistics=self.statistics,
            corrections=self.corrections,
            ways=self.ways,
        )

    def size_bytes(self, configurations: Sequence[Configuration]) -> list[int]:
        """Of the weights and tables that each configuration needs by itself, the exact one first."""
        return list(self.levels(configurations, self.single).plan.notes["level_bytes"])

    def levels(self, configurations: Sequence[Configuration], batch: int) -> Runner:
        """A runner with these levels; the last one is kept, so that asking again costs nothing."""
        key = (tuple(configurations), batch)
        if self._loaded is None or self._loaded[0] != key:
            self.unload()
            self._loaded = key, self.device.load(self.lower(configurations, batch))
        return self._loaded[1]

    def prove(self) -> None:
        """See that the device computes what the reference says, before anything is timed on it. Raises DeviceError."""
        import numpy as np

        from . import reference

        batch = self.first(self.single)
        wanted = reference.run(self.network.at_batch(self.single), [batch])[0]
        found = self.levels([EXACT_CONFIGURATION], self.single).run(batch)
        worst = float(np.abs((found[0] if isinstance(found, tuple) else found) - wanted).max())
        if not worst <= MOST_WRONG * max(float(np.abs(wanted).max()), 1e-6):
            raise DeviceError(
                f"'{self.device.info.name}' computes '{self.network.name}' wrongly: the exact network differs from the reference by {worst:.2g}",
                mend="nothing is timed on it; choose another device, or update its driver",
            )

    def unload(self) -> None:
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None

    def time(self, configurations: Sequence[Configuration], seconds: float) -> list[npt.NDArray[np.float64]]:
        """Milliseconds of whole inferences, float64[R] per configuration, interleaved over about `seconds`."""
        if self.workforce is not None:
            levels = self.lower(configurations, self.single).levels
            far = self.workforce.time(partial(self._plan_of, configurations, self.single), self.first(self.single), None, levels, seconds)
            if far is not None:
                return far
        runner = self.levels(configurations, self.single)
        runner.run(self.first(self.single))
        return runner.time(None, runner.plan.levels, seconds)

    def first(self, batch: int) -> Floats:
        """The sample as a whole batch."""
        return filled(self.sample[:batch], batch)

    def outputs(
        self, configurations: Sequence[Configuration], inputs: Floats, done: Callable[[int], None] = lambda level: None
    ) -> list[Floats]:
        """Class scores float32[N, K] of inputs[N, ...] per configuration. done: called with each level that is finished."""
        runner = self.levels(configurations, self.many)
        results = []
        for level in range(len(configurations)):
            runner.set_level(level)
            results.append(through(runner, inputs))
            done(level)
        return results

    def outputs_of_workers(self, configurations: Sequence[Configuration], inputs: Floats) -> list[Floats]:
        """As `outputs`, by the workforce; the batches of all configurations are shared out."""
        import numpy as np

        assert self.workforce is not None
        levels = self.lower(configurations, self.many).levels
        starts = range(0, len(inputs), self.many)
        runs = tuple((level, None) for level in levels)
        jobs = [Job(tuple(range(start, min(start + self.many, len(inputs)))), runs) for start in starts]
        found = dict(self.workforce.outputs(partial(self._plan_of, configurations, self.many), inputs, jobs))
        return [np.concatenate([found[job][level] for job in range(len(jobs))]) for level in range(len(levels))]

    def _plan_of(self, configurations: Sequence[Configuration], batch: int, info: DeviceInfo) -> ExecutionPlan:
        return self.plan(batch, {}, configurations, info=info)

    def energy(self, configurations: Sequence[Configuration], meter: Meter, seconds: float) -> Energy:
        """Of one inference per configuration, each a mean over about `seconds`."""
        runner = self.levels(configurations, self.single)
        batch = self.first(self.single)
        runner.run(batch)
        is_far = getattr(self.device, "shell", None) is not None
        found = measure(runner, range(len(configurations)), lambda: runner.run(batch), meter, seconds, is_far)
        return replace(found, mj=tuple(None if mj is None else mj / self.single for mj in found.mj))


def through(runner: Runner, inputs: Floats) -> Floats:
    """Class scores float32[N, K] of inputs[N, ...] at the runner's present level; the last batch is filled up and cut.

    A runner that is far away may have ``run_many(inputs)``: whole batches, float32[k * batch, ...], that travel together.
    """
    import numpy as np

    batch = runner.plan.batch
    run_many = getattr(runner, "run_many", None)
    if run_many is not None and len(runner.plan.inputs) == 1:
        return scores(run_many(filled(inputs, -(-len(inputs) // batch) * batch)))[: len(inputs)].copy()
    results = []
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        results.append(scores(runner.run(filled(part, batch)))[: len(part)].copy())
    return np.concatenate(results)


def scores(output: Floats | tuple[Floats, ...]) -> Floats:
    """The output as float32[N, K]."""
    only = output[0] if isinstance(output, tuple) else output
    return only.reshape(len(only), -1)


def median_and_ci(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Median of values[R], and the half-width of its 95 % confidence interval."""
    return _quantile_and_ci(values, 0.5)


def undisturbed(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Lower quartile of values[R], and the half-width of its 95 % confidence interval.

    What is timed alone for microseconds either has the cores or shares them: other work only ever adds, to more than half of the
    values at times, and then a median compares one setting's share with another's luck.
    """
    return _quantile_and_ci(values, 0.25)


def _quantile_and_ci(values: npt.NDArray[np.float64], share: float) -> tuple[float, float]:
    """The interval is that of order statistics: no distribution is assumed."""
    import numpy as np

    ordered, last = np.sort(values), len(values) - 1
    middle, half = share * len(values), 1.96 * np.sqrt(len(values) * share * (1 - share))
    low, high = max(0, int(np.floor(middle - half))), min(last, int(np.ceil(middle + half)))
    return float(np.quantile(ordered, share)), float(ordered[high] - ordered[low]) / 2


def side_by_side(samples: Sequence[npt.NDArray[np.float64]]) -> list[tuple[float, float]]:
    """Median and half-width of each of several interleaved measurements, [R] each, the exact one first.

    Each is compared with the exact one of its own round, so that what slows the whole machine for a while cancels out.
    """
    exact, exact_ci = median_and_ci(samples[0])
    ratios = [median_and_ci(values[: len(samples[0])] / samples[0][: len(values)]) for values in samples[1:]]
    return [(exact, exact_ci), *((exact * ratio, exact * ci) for ratio, ci in ratios)]
