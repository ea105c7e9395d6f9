"""Measuring whole configurations: candidates on tuning data, the chosen levels again, and in the end on test data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .adaptation import Reliability, calibrate, reliability
from .configuration import EXACT_CONFIGURATION, Configuration
from .interfaces import Candidate, LevelCalibration, Meter, Progress, ProgressSink, Samples
from .lab import Lab, side_by_side, through
from .ledger import Journal
from .measurement import OperatingPoint
from .selection import choose, contenders, evenly, within_reach

if TYPE_CHECKING:
    from .interfaces import Floats

Observer = Callable[[OperatingPoint], None]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure. first: candidates of the first round; least, most: of the second, as many as loss_s seconds allow.

    round_s, confirm_s, energy_s: seconds of timing per configuration.
    """

    first: int = 12
    least: int = 24
    most: int = 96
    loss_s: float = 20.0
    round_s: float = 0.25
    confirm_s: float = 0.5
    energy_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Front:
    """What was measured on tuning data. points: everything; levels: what ships, level 0 exact.

    tune_accuracy: of the exact network, 0..1; None without labels, where a loss is disagreement with the exact network.
    """

    points: tuple[OperatingPoint, ...]
    levels: tuple[OperatingPoint, ...]
    tune_accuracy: float | None


class Measurer:
    """Measures configurations of one network on one device; what the journal knows is not measured again."""

    def __init__(
        self,
        stage: str,
        lab: Lab,
        journal: Journal,
        effort: Effort,
        progress: ProgressSink,
        observe: Observer = lambda point: None,
    ) -> None:
        self.stage = stage
        self.lab = lab
        self.journal = journal
        self.effort = effort
        self.progress = progress
        self.observe = observe

    def front(self, candidates: Sequence[Candidate], tune: Samples, max_loss_pp: float, levels: int, meter: Meter | None) -> Front:
        """A few candidates over the whole range, then more of those whose loss can be borne; levels are chosen from what is left.

        Accuracy comes first in the second round, and only what may be on the front by its predicted latency is timed; what may be on
        it by that timing is timed again, longer.
        """
        started = perf_counter()
        exact_labels = self.predicted("tune", tune.inputs, [EXACT_CONFIGURATION])[0]
        spread = evenly(candidates, self.effort.first)
        self.predicted("tune", tune.inputs, [c.configuration for c in spread])
        count = self.second_round((perf_counter() - started) / (len(spread) + 1))
        first = self.points(spread, tune, exact_labels)
        near = evenly(within_reach(candidates, first, max_loss_pp), count)
        losses = [
            loss_pp(labels, exact_labels, tune.labels)[0] for labels in self.predicted("tune", tune.inputs, [c.configuration for c in near])
        ]
        promising = [near[i] for i in contenders(losses, [c.latency_ms for c in near], max_loss_pp)]
        points = first | self.points(promising, tune, exact_labels, first[EXACT_CONFIGURATION].latency_ms)
        others = [point for point in points.values() if point.configuration.settings]
        finalists = [others[i] for i in contenders([p.qos_loss_pp for p in others], [p.latency_ms for p in others], max_loss_pp)]
        exact, *others = self.confirmed([points[EXACT_CONFIGURATION], *finalists])
        shipped = choose(others, exact, max_loss_pp, levels)
        points = _corrected(points, [exact, *others])
        accuracy = None if tune.labels is None else float((exact_labels == tune.labels).mean())
        return Front(tuple(points.values()), self.with_energy(shipped, meter), accuracy)

    def second_round(self, seconds_each: float) -> int:
        """How many candidates the time allows; noted, so that a resumed run measures the same."""
        known = self.journal.recall("second round")
        if known is None:
            affordable = int(self.effort.loss_s / max(seconds_each, 1e-3))
            known = self.journal.note("second round", value=min(max(affordable, self.effort.least), self.effort.most))
        return int(known)

    def points(
        self, candidates: Sequence[Candidate], tune: Samples, exact_labels: Labels, exact_ms: float | None = None
    ) -> dict[Configuration, OperatingPoint]:
        """The exact configuration and the candidates, timed side by side; latencies are scaled so that the exact one is `exact_ms`."""
        configurations = [EXACT_CONFIGURATION, *(c.configuration for c in candidates)]
        timed = self.timed("latency", configurations, self.effort.round_s)
        scale = 1.0 if exact_ms is None else exact_ms / timed[0][0]
        points = {}
        for configuration, (ms, ci), labels in zip(configurations, timed, self.predicted("tune", tune.inputs, configurations), strict=True):
            loss, loss_ci = loss_pp(labels, exact_labels, tune.labels)
            points[configuration] = OperatingPoint(configuration, loss, ms * scale, None, loss_ci, ci * scale)
            self.observe(points[configuration])
        return points

    def confirmed(self, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
        """The same points with their latency measured longer, with none but them side by side."""
        timed = self.timed("confirmed latency", [point.configuration for point in points], self.effort.confirm_s)
        return [replace(point, latency_ms=ms, latency_ci_ms=ci) for point, (ms, ci) in zip(points, timed, strict=True)]

    def with_energy(self, levels: Sequence[OperatingPoint], meter: Meter | None) -> tuple[OperatingPoint, ...]:
        """The levels with their energy where there is a meter."""
        if meter is None:
            return tuple(levels)
        configurations = [level.configuration for level in levels]
        key = ("energy", [digest_of(c) for c in configurations])
        energies = self.journal.recall(*key)
        if energies is None:
            self.progress(Progress(self.stage, 0, 0, f"energy of {len(levels)} levels"))
            energies = self.journal.note(*key, value=self.lab.energy_mj(configurations, meter, self.effort.energy_s))
        return tuple(replace(level, energy_mj=energy) for level, energy in zip(levels, energies, strict=True))

    def tested(self, levels: Sequence[OperatingPoint], test: Samples) -> tuple[float | None, list[tuple[float, float]]]:
        """On data that no choice looked at: accuracy of the exact network (None without labels), and losses with their half-widths."""
        every = self.predicted("test", test.inputs, [level.configuration for level in levels])
        accuracy = None if test.labels is None else float((every[0] == test.labels).mean())
        return accuracy, [loss_pp(labels, every[0], test.labels) for labels in every]

    def calibrated(
        self, levels: Sequence[OperatingPoint], tune: Samples, already_softmax: bool, one_temperature: bool
    ) -> tuple[LevelCalibration, ...]:
        """What strategies may know of the levels, from tuning data."""
        outputs = self.lab.outputs([level.configuration for level in levels], tune.inputs)
        return calibrate(
            outputs, tune.labels, [level.latency_ms for level in levels], already_softmax, tune.groups, one_temperature=one_temperature
        )

    def reliability(
        self, levels: Sequence[OperatingPoint], calibration: Sequence[LevelCalibration], test: Samples, already_softmax: bool
    ) -> tuple[Reliability, ...]:
        """How well the calibrated confidences of every level tell its hits on data that they were not calibrated on."""
        every = self.lab.outputs([level.configuration for level in levels], test.inputs)
        truth = every[0].argmax(axis=1) if test.labels is None else test.labels
        return tuple(
            reliability(outputs, truth, already_softmax, known.temperature) for outputs, known in zip(every, calibration, strict=True)
        )

    def timed(self, what: str, configurations: Sequence[Configuration], seconds: float) -> list[tuple[float, float]]:
        """Median and half-width of whole inferences, milliseconds, interleaved; `seconds` for each."""
        key = (what, [digest_of(c) for c in configurations])
        known = self.journal.recall(*key)
        if known is None:
            self.progress(Progress(self.stage, 0, 0, f"{what} of {len(configurations)} configurations"))
            samples = self.lab.time(configurations, seconds * len(configurations))
            known = self.journal.note(*key, value=side_by_side(samples))
        return [(ms, ci) for ms, ci in known]

    def predicted(self, split: str, inputs: Floats, configurations: Sequence[Configuration]) -> list[Labels]:
        """The label, int64[N], that each configuration gives to each input."""
        found = {c: self.journal.recall("labels", split, digest_of(c)) for c in configurations}
        missing = [c for c, labels in found.items() if labels is None]
        if missing:
            with_exact = [EXACT_CONFIGURATION, *(c for c in missing if c.settings)]
            runner = self.lab.levels(with_exact, self.lab.many)
            for done, configuration in enumerate(missing):
                self.progress(Progress(self.stage, done, len(missing), f"accuracy on {split} data"))
                runner.set_level(with_exact.index(configuration))
                labels = through(runner, inputs).argmax(axis=1).tolist()
                found[configuration] = self.journal.note("labels", split, digest_of(configuration), value=labels)
            self.progress(Progress(self.stage, len(missing), len(missing), f"accuracy on {split} data"))
        return [np.array(found[c], dtype=np.int64) for c in configurations]


def _corrected(points: Mapping[Configuration, OperatingPoint], again: Sequence[OperatingPoint]) -> dict[Configuration, OperatingPoint]:
    """All points on one scale: those timed again as the longer timing says, the others moved as it moved those.

    Among many configurations each is timed with colder caches than among few, the exact network most of all.
    """
    shifts = [p.latency_ms / points[p.configuration].latency_ms for p in again if p.configuration.settings]
    shift = float(np.median(shifts)) if shifts else 1.0
    moved = {c: replace(p, latency_ms=p.latency_ms * shift, latency_ci_ms=p.latency_ci_ms * shift) for c, p in points.items()}
    return moved | {p.configuration: p for p in again}


def digest_of(configuration: Configuration) -> str:
    """A configuration in one line; two that differ, differ here."""
    return "; ".join(f"{op}: {setting}" for op, setting in configuration.settings.items()) or "exact"


def loss_pp(labels: Labels, exact: Labels, truth: Labels | None) -> tuple[float, float]:
    """QoS loss in percentage points, with the half-width of its 95 % confidence interval.

    labels, exact: int64[N], predictions; truth: int64[N], or None where disagreement with `exact` is the loss. The interval is that of
    paired proportions (Agresti and Min, 2005): what both get right or wrong tells nothing.
    """
    truth = exact if truth is None else truth
    lost = int(np.sum((exact == truth) & (labels != truth)))
    gained = int(np.sum((exact != truth) & (labels == truth)))
    count = len(labels)
    variance = lost + gained + 1 - (lost - gained) ** 2 / (count + 2)
    return 100 * (lost - gained) / count, 196 * sqrt(variance) / (count + 2)


# ------------------------------------------------------------------------------------------------------------------------- files


def point_to_json(point: OperatingPoint) -> dict[str, Any]:
    return {
        "qos_loss_pp": point.qos_loss_pp,
        "qos_loss_ci_pp": point.qos_loss_ci_pp,
        "latency_ms": point.latency_ms,
        "latency_ci_ms": point.latency_ci_ms,
        "energy_mj": point.energy_mj,
        "settings": point.configuration.to_json(),
    }


def point_from_json(value: Mapping[str, Any]) -> OperatingPoint:
    return OperatingPoint(
        Configuration.from_json(value["settings"]),
        qos_loss_pp=value["qos_loss_pp"],
        latency_ms=value["latency_ms"],
        energy_mj=value["energy_mj"],
        qos_loss_ci_pp=value["qos_loss_ci_pp"],
        latency_ci_ms=value["latency_ci_ms"],
    )


def front_to_json(front: Front) -> dict[str, Any]:
    """As `front.json` holds it."""
    return {
        "schema": 1,
        "tune_accuracy": front.tune_accuracy,
        "levels": [{"level": number, **point_to_json(point)} for number, point in enumerate(front.levels)],
        "points": [point_to_json(point) for point in front.points],
    }


def front_from_json(value: Mapping[str, Any]) -> Front:
    """The inverse of `front_to_json`."""
    return Front(tuple(map(point_from_json, value["points"])), tuple(map(point_from_json, value["levels"])), value["tune_accuracy"])
