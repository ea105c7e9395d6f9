"""Measuring whole configurations: candidates on tuning data, the chosen levels again, and in the end on test data."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count as count_up
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .adaptation import Reliability, calibrate, reliability
from .configuration import EXACT_CONFIGURATION, Configuration
from .errors import DeviceError
from .interfaces import Candidate, LevelCalibration, Meter, Profile, Progress, ProgressSink, Samples
from .lab import Lab, side_by_side, through
from .ledger import Journal, Json
from .measurement import Loss, OperatingPoint
from .prediction import POWERS, Expectation, Latency, RawLoss, Scale, Table, Trust, additive, trust
from .qos import Judge, Statistics
from .selection import Demands, choose, contenders, evenly, halved, within_reach

if TYPE_CHECKING:
    from .interfaces import Floats

Observer = Callable[[OperatingPoint], None]
Improve = Callable[[Sequence[OperatingPoint], int], Sequence[Candidate]]

PARTS = (slice(0, None, 4), slice(2, None, 4), slice(1, None, 2))
"""The data in three parts, each spread over all of it: a quarter, another quarter, the other half."""


LATER_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure. first: candidates of the first round; least, most: of the later ones together, as many as loss_s seconds allow.

    round_s, confirm_s, energy_s: seconds of timing per configuration.
    """

    first: int = 8
    least: int = 14
    most: int = 96
    loss_s: float = 14.0
    round_s: float = 0.15
    confirm_s: float = 0.35
    energy_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Front:
    """What was measured on tuning data. points: everything; levels: what ships, level 0 exact.

    score: of the exact network, in the unit of the measure. trust: how far predictions were right. energy: what is to be known of the
    levels' energies (`energy.Energy.about`), None where there was no meter.
    """

    points: tuple[OperatingPoint, ...]
    levels: tuple[OperatingPoint, ...]
    score: float
    trust: tuple[Trust, ...] = ()
    energy: Mapping[str, Any] | None = None


class Measurer:
    """Measures configurations of one network on one device; what the journals know is not measured again.

    losses: holds the statistics of single samples, which are the same whenever they are measured.
    """

    def __init__(
        self,
        stage: str,
        lab: Lab,
        journal: Journal,
        effort: Effort,
        progress: ProgressSink,
        observe: Observer = lambda point: None,
        losses: Journal | None = None,
    ) -> None:
        self.stage = stage
        self.lab = lab
        self.journal = journal
        self.losses = journal if losses is None else losses
        self.effort = effort
        self.progress = progress
        self.observe = observe
        self.energy: Mapping[str, Any] | None = None
        self._exact: dict[tuple[str, int], Floats] = {}

    def front(
        self,
        candidates: Sequence[Candidate],
        profile: Profile,
        predictors: Mapping[str, RawLoss],
        judge: Judge,
        demands: Demands,
        meter: Meter | None,
        improve: Improve = lambda points, generation: (),
    ) -> Front:
        """A few candidates over the whole range, then more of those whose loss can be borne; levels are chosen from what is left.

        The first round tells what the profile's predictions are worth, and scales them. Each later one looks where those before it leave
        the border of what can be borne. Its candidates are halved twice on growing parts of the data; those left are timed. In the end
        all are timed side by side, and what may be on the front by that timing once more, longer. improve: what to measure besides, from
        all points so far, generation by generation until there is nothing.
        """
        started = perf_counter()
        spread = evenly(candidates, self.effort.first)
        self.statistics("tune", judge, [EXACT_CONFIGURATION, *(c.configuration for c in spread)])
        count = self.later_rounds((perf_counter() - started) / (len(spread) + 1))
        points = self.points([c.configuration for c in spread], judge)
        points, expected = reckoned(points, demands.max_loss)
        exact = points[EXACT_CONFIGURATION]
        first = {c: p for c, p in points.items() if c.settings}
        tried: set[Configuration] = set()
        for _ in range(LATER_ROUNDS):
            near = evenly(within_reach(candidates, points, demands.max_loss, tried), -(-count // LATER_ROUNDS))
            if not near:
                break
            costs = predicted_ms(near, Table.of(profile), first, exact)
            tried |= {c.configuration for c in near}
            survivors = self.survivors([c.configuration for c in near], costs, judge, demands.max_loss, expected)
            points |= self.points([near[i].configuration for i in survivors], judge, exact.latency_ms)
            points, expected = reckoned(points, demands.max_loss)
        for generation in count_up():
            children = [c.configuration for c in improve(tuple(points.values()), generation) if c.configuration not in points]
            if not children:
                break
            points |= self.points(children, judge, exact.latency_ms)
            points, _ = reckoned(points, demands.max_loss)
        points = self.timed_again(points)
        checked = [self.refused(point, judge, demands) for point in points.values() if point.configuration.settings]
        points |= {point.configuration: point for point in checked}
        usable = [point for point in checked if point.upper <= demands.max_loss and not point.refused]
        finalists = usable  # costs other than latency are not known yet
        if not (demands.needs("energy") or demands.needs("size")):
            finalists = [usable[i] for i in contenders([p.qos_loss for p in usable], [p.latency_ms for p in usable], demands.max_loss)]
        exact, *others = self.with_costs(self.confirmed([exact, *finalists]), demands, meter)
        points = _corrected(points, [exact, *others])
        shipped = choose(others, exact, demands)
        judged = self.judged(Table.of(profile), predictors, first, points, exact, judge, demands)
        score = judge.score(self.statistics("tune", judge, [EXACT_CONFIGURATION])[0])
        return Front(tuple(points.values()), self.with_energy(shipped, meter), score, judged, self.energy)

    def later_rounds(self, seconds_each: float) -> int:
        """How many candidates the time allows after the first round; noted, so that a resumed run, or another on the same inputs, measures the same."""
        known = self.losses.recall("later rounds")
        if known is None:
            affordable = int(2 * self.effort.loss_s / max(seconds_each, 1e-3))  # half of them see a part of the data only
            known = self.losses.note("later rounds", value=min(max(affordable, self.effort.least), self.effort.most))
        return int(known)

    def survivors(
        self, configurations: Sequence[Configuration], costs: Sequence[float], judge: Judge, max_loss: float, expected: Expectation
    ) -> list[int]:
        """Indices of those that are left when the worse half has gone after a quarter of the data, and again after a half.

        costs: predicted. expected: from what was measured so far. Those left are judged on all data.
        """
        alive = list(range(len(configurations)))
        for parts in range(1, len(PARTS) + 1):
            chosen = [configurations[i] for i in alive]
            rows = self.statistics("tune", judge, [EXACT_CONFIGURATION, *chosen], parts, among=configurations)
            if parts < len(PARTS):
                index = _index(len(judge.samples.inputs), parts)
                own = [
                    expected(self.divergence("tune", judge, configuration, parts), judge.loss(rows[0], r, index))
                    for configuration, r in zip(chosen, rows[1:], strict=True)
                ]
                kept = halved([(o.value, o.error) for o in own], [costs[i] for i in alive], max_loss, self.effort.least)
                alive = [alive[k] for k in kept]
        return alive

    def points(
        self, configurations: Sequence[Configuration], judge: Judge, exact_ms: float | None = None
    ) -> dict[Configuration, OperatingPoint]:
        """The exact configuration and others, timed side by side; latencies are scaled so that the exact one is `exact_ms`.

        What gives an output that is not finite is left out.
        """
        every = [EXACT_CONFIGURATION, *configurations]
        timed = self.timed("latency", every, self.effort.round_s)
        scale = 1.0 if exact_ms is None else exact_ms / timed[0][0]
        points = {}
        exact, *others = self.statistics("tune", judge, every)
        for configuration, (ms, ci), rows in zip(every, timed, [exact, *others], strict=True):
            if not np.isfinite(rows).all():
                continue
            loss = judge.loss(exact, rows) if configuration.settings else Loss(0.0, 0.0, 0.0)
            points[configuration] = OperatingPoint(
                configuration,
                loss.value,
                ms * scale,
                qos_loss_ci=loss.ci,
                latency_ci_ms=ci * scale,
                qos_loss_upper=loss.upper,
                measured=loss,
                divergence=self.divergence("tune", judge, configuration),
            )
            self.observe(points[configuration])
        return points

    def timed_again(self, points: Mapping[Configuration, OperatingPoint]) -> dict[Configuration, OperatingPoint]:
        """All of them side by side, so that no round's quiet or busy moment counts for its points alone."""
        timed = self.timed("latency of all", list(points), self.effort.round_s / 2)
        return {
            point.configuration: replace(point, latency_ms=ms, latency_ci_ms=ci)
            for point, (ms, ci) in zip(points.values(), timed, strict=True)
        }

    def confirmed(self, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
        """The same points with their latency measured longer, with none but them side by side."""
        timed = self.timed("confirmed latency", [point.configuration for point in points], self.effort.confirm_s)
        return [replace(point, latency_ms=ms, latency_ci_ms=ci) for point, (ms, ci) in zip(points, timed, strict=True)]

    def with_costs(self, points: Sequence[OperatingPoint], demands: Demands, meter: Meter | None) -> list[OperatingPoint]:
        """The same points with whatever else the demands are about."""
        if demands.needs("size"):
            sizes = self.lab.size_bytes([point.configuration for point in points])
            points = [replace(point, size_bytes=size) for point, size in zip(points, sizes, strict=True)]
        if not demands.needs("energy"):
            return list(points)
        metered = self.with_energy(points, meter)
        if any(point.energy_mj is None for point in metered):
            reason = (self.energy or {}).get("problem") or "there is no meter"
            raise DeviceError(
                f"energy is asked for, but could not be measured: {reason}", mend="mend that, or ask for other costs in 'search'"
            )
        return list(metered)

    def with_energy(self, levels: Sequence[OperatingPoint], meter: Meter | None) -> tuple[OperatingPoint, ...]:
        """The levels with their energy where there is a meter and it is not known."""
        if meter is None or all(level.energy_mj is not None for level in levels):
            return tuple(levels)
        configurations = [level.configuration for level in levels]
        key = ("energy", [digest_of(c) for c in configurations])
        energies = self.journal.recall(*key)
        if energies is None:
            self.progress(Progress(self.stage, 0, 0, f"energy of {len(levels)} levels"))
            found = self.lab.energy(configurations, meter, self.effort.energy_s)
            energies = self.journal.note(*key, value={"mj": found.mj, "about": found.about})
        self.energy = energies["about"]
        return tuple(replace(level, energy_mj=energy) for level, energy in zip(levels, energies["mj"], strict=True))

    def refused(self, point: OperatingPoint, judge: Judge, demands: Demands) -> OperatingPoint:
        """The point, refused where a class or group alone loses too much, by more than the standard error of that loss."""
        exact, rows = self.statistics("tune", judge, [EXACT_CONFIGURATION, point.configuration])
        worst = max(judge.parts(exact, rows), key=lambda part: part.loss - part.error, default=None)
        if worst is None or worst.loss - worst.error <= demands.part_loss:
            return point
        why = f"{worst.name} alone loses {worst.loss:.3g} {demands.unit} (of {worst.samples} samples); {demands.part_loss:g} may be lost"
        return replace(point, refused=why)

    # -- predictions

    def judged(
        self,
        table: Table,
        predictors: Mapping[str, RawLoss],
        first: Mapping[Configuration, OperatingPoint],
        points: Mapping[Configuration, OperatingPoint],
        exact: OperatingPoint,
        judge: Judge,
        demands: Demands,
    ) -> tuple[Trust, ...]:
        """How right each predictor was about points that it was not fitted to. Losses count where they are within what may be lost."""
        told = {c: p for c, p in points.items() if c.settings and table.knows(c)}
        fitted = {c: p for c, p in told.items() if c in first}
        held = {c: p for c, p in told.items() if c not in first}
        latency = fitted_latency(table, fitted, exact)
        latencies = latency(*table.sums(table.codes(held))[::2])
        found = [trust("profile", "latency", "%", latencies, [p.latency_ms for p in held.values()], len(fitted), relative=True)]
        losses = {c: p.measured for c, p in told.items() if p.measured is not None}
        near = [c for c in held if losses[c].value <= demands.max_loss]
        for name, predictor in {"additive": additive(table), **predictors}.items():
            powers = POWERS if name == "additive" else (1.0,)
            values, errors = ([getattr(losses[c], of) for c in fitted] for of in ("value", "error"))
            scale = Scale.fitted(predictor(list(fitted)), values, errors, demands.max_loss, powers)
            found.append(trust(name, "loss", demands.unit, scale(predictor(near)), [losses[c].value for c in near], len(fitted)))
        return tuple(found)

    # -- other data

    def tested(self, levels: Sequence[OperatingPoint], judge: Judge) -> tuple[float, list[tuple[float, float]]]:
        """On data that no choice looked at: score of the exact network, and losses with their half-widths."""
        exact, *others = self.statistics("test", judge, [level.configuration for level in levels])
        losses = [judge.loss(exact, rows) for rows in others]
        return judge.score(exact), [(0.0, 0.0), *((loss.value, loss.ci) for loss in losses)]

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
    ) -> tuple[tuple[Reliability, ...], float | None]:
        """How well the calibrated confidences of every level tell its hits on data that they were not calibrated on.

        And the accuracy of the exact network there; None without labels.
        """
        every = self.lab.outputs([level.configuration for level in levels], test.inputs)
        predicted = every[0].argmax(axis=1)
        truth = predicted if test.labels is None else test.labels
        found = tuple(
            reliability(outputs, truth, already_softmax, known.temperature) for outputs, known in zip(every, calibration, strict=True)
        )
        return found, None if test.labels is None else float((predicted == test.labels).mean())

    def timed(self, what: str, configurations: Sequence[Configuration], seconds: float) -> list[tuple[float, float]]:
        """Median and half-width of whole inferences, milliseconds, interleaved; `seconds` for each."""
        key = (what, [digest_of(c) for c in configurations])
        known = self.journal.recall(*key)
        if known is None:
            self.progress(Progress(self.stage, 0, 0, f"{what} of {len(configurations)} configurations"))
            samples = self.lab.time(configurations, seconds * len(configurations))
            known = self.journal.note(*key, value=side_by_side(samples))
        return [(ms, ci) for ms, ci in known]

    def statistics(
        self,
        split: str,
        judge: Judge,
        configurations: Sequence[Configuration],
        parts: int = len(PARTS),
        among: Sequence[Configuration] = (),
    ) -> list[Statistics]:
        """Statistics of samples, float64[n, S], of each configuration on the first parts of a split, in the order of the samples.

        among: configurations that may be asked for next; they are loaded together.
        """
        count = len(judge.samples.inputs)
        title = f"quality on {split} data"
        missing = [(c, part) for part in range(parts) for c in configurations if self.losses.recall(*self._key(split, c, part)) is None]
        loaded = list(dict.fromkeys([EXACT_CONFIGURATION, *(among or (c for c, _ in missing))]))
        if missing and self.lab.workforce is not None:
            self.let_judge(split, judge, missing)
            missing = []
        for done, (configuration, part) in enumerate(missing):
            self.progress(Progress(self.stage, done, len(missing), title))
            index = np.arange(count)[PARTS[part]]
            inputs = judge.samples.inputs[index]
            runner = self.lab.levels(loaded, self.lab.many)
            if (split, part) not in self._exact and len(index):
                runner.set_level(0)
                self._exact[split, part] = through(runner, inputs)
            runner.set_level(loaded.index(configuration))
            value = _NOTHING
            if len(index):
                outputs = through(runner, inputs) if configuration.settings else self._exact[split, part]
                value = _judged(judge, outputs, self._exact[split, part], index)
            self.losses.note(*self._key(split, configuration, part), value=value)
        if missing:
            self.progress(Progress(self.stage, len(missing), len(missing), title))
        order = np.argsort(_positions(count, parts), kind="stable")
        found = []
        for configuration in configurations:
            own = [unpack(known["rows"]) for known in self._known(split, configuration, parts)]
            found.append(np.concatenate([r for r in own if len(r)])[order])
        return found

    def divergence(self, split: str, judge: Judge, configuration: Configuration, parts: int = len(PARTS)) -> float:
        """Of the outputs from the exact ones, mean over the first parts of a split; `statistics` has looked at them. NaN where one is not finite."""
        sums = [known["divergence"] for known in self._known(split, configuration, parts)]
        return math.nan if None in sums else sum(sums) / len(_positions(len(judge.samples.inputs), parts))

    def let_judge(self, split: str, judge: Judge, missing: Sequence[tuple[Configuration, int]]) -> None:
        """Let workers run configurations on parts of a split, and note the statistics of what they give."""
        for part in dict.fromkeys(part for _, part in missing):
            chosen = [configuration for configuration, own in missing if own == part]
            self.progress(Progress(self.stage, 0, 0, f"quality of {len(chosen)} configurations on {split} data"))
            index = np.arange(len(judge.samples.inputs))[PARTS[part]]
            every = list(dict.fromkeys([EXACT_CONFIGURATION, *chosen]))
            outputs = dict(zip(every, self.lab.outputs_of_workers(every, judge.samples.inputs[index]), strict=True)) if len(index) else {}
            for configuration in chosen:
                value = _judged(judge, outputs[configuration], outputs[EXACT_CONFIGURATION], index) if len(index) else _NOTHING
                self.losses.note(*self._key(split, configuration, part), value=value)

    def _known(self, split: str, configuration: Configuration, parts: int) -> list[Any]:
        return [self.losses.recall(*self._key(split, configuration, part)) for part in range(parts)]

    @staticmethod
    def _key(split: str, configuration: Configuration, part: int) -> tuple[str, str, str, int]:
        return "quality", split, digest_of(configuration), part


def _judged(judge: Judge, outputs: Floats, exact: Floats, index: npt.NDArray[np.int64]) -> Json:
    """What is noted of the outputs of some samples. divergence: their sum, None where one is not finite."""
    divergence = float(judge.divergence(outputs, exact).sum())
    return {"rows": pack(judge.statistics(outputs, exact, index)), "divergence": divergence if math.isfinite(divergence) else None}


def reckoned(points: Mapping[Configuration, OperatingPoint], max_loss: float) -> tuple[dict[Configuration, OperatingPoint], Expectation]:
    """The points with the losses that are to be expected of them, given all that were measured; and how these were reckoned."""
    told = [(c, p.measured, p.divergence) for c, p in points.items() if c.settings and p.measured is not None and p.divergence is not None]
    expected = Expectation.fitted([divergence for _, _, divergence in told], [measured for _, measured, _ in told], max_loss)
    found = dict(points)
    for c, measured, divergence in told:
        loss = expected(divergence, measured)
        found[c] = replace(points[c], qos_loss=loss.value, qos_loss_ci=loss.ci, qos_loss_upper=loss.upper)
    return found, expected


def fitted_latency(table: Table, measured: Mapping[Configuration, OperatingPoint], exact: OperatingPoint) -> Latency:
    """From configurations that the profile knows all settings of."""
    return Latency.fitted(exact.latency_ms, *table.sums(table.codes(measured))[::2], [p.latency_ms for p in measured.values()])


def predicted_ms(
    candidates: Sequence[Candidate], table: Table, measured: Mapping[Configuration, OperatingPoint], exact: OperatingPoint
) -> list[float]:
    """Latency of each candidate, corrected by what was measured; never below a hundredth of the exact network's."""
    known = {c: p for c, p in measured.items() if table.knows(c)}
    latency = fitted_latency(table, known, exact)
    share = latency.share if known else 1.0
    told = [
        float(latency(*table.sums(table.codes([c.configuration]))[::2])[0])
        if table.knows(c.configuration)
        else exact.latency_ms - share * (table.exact_ms - c.latency_ms)
        for c in candidates
    ]
    return [max(ms, exact.latency_ms / 100) for ms in told]


def _positions(count: int, parts: int) -> npt.NDArray[np.int64]:
    return np.concatenate([np.arange(count)[part] for part in PARTS[:parts]])


def _index(count: int, parts: int) -> npt.NDArray[np.int64]:
    """Which samples the first parts are of, ascending."""
    return np.sort(_positions(count, parts))


def pack(rows: npt.NDArray[Any]) -> Json:
    """An array as JSON: compressed, in the smallest type that holds it."""
    small = rows.astype(np.uint8) if rows.size and np.isfinite(rows).all() and (rows == (rows.astype(np.int64) & 255)).all() else rows
    content = base64.b85encode(zlib.compress(np.ascontiguousarray(small).tobytes())).decode()
    return {"dtype": str(small.dtype), "shape": list(small.shape), "data": content}


def unpack(value: Json) -> npt.NDArray[np.float64]:
    """The inverse of `pack`, as float64."""
    content = np.frombuffer(zlib.decompress(base64.b85decode(value["data"])), dtype=value["dtype"])
    return content.reshape(value["shape"]).astype(np.float64)


def _corrected(points: Mapping[Configuration, OperatingPoint], again: Sequence[OperatingPoint]) -> dict[Configuration, OperatingPoint]:
    """All points on one scale: those timed again as the longer timing says, the others moved as it moved those.

    Among many configurations each is timed with colder caches than among few, the exact network most of all.
    """
    shifts = [p.latency_ms / points[p.configuration].latency_ms for p in again if p.configuration.settings]
    shift = float(np.median(shifts)) if shifts else 1.0
    moved = {c: replace(p, latency_ms=p.latency_ms * shift, latency_ci_ms=p.latency_ci_ms * shift) for c, p in points.items()}
    return moved | {p.configuration: p for p in again}


_NOTHING = {"rows": pack(np.empty((0, 0))), "divergence": 0.0}
"""What is noted of no samples."""


def digest_of(configuration: Configuration) -> str:
    """A configuration in one line; two that differ, differ here."""
    return "; ".join(f"{op}: {setting}" for op, setting in configuration.settings.items()) or "exact"


# ------------------------------------------------------------------------------------------------------------------------- files


def point_to_json(point: OperatingPoint, unit: str) -> dict[str, Any]:
    """Losses in percentage points also stand there under names that say so."""
    losses = {"qos_loss": point.qos_loss, "qos_loss_ci": point.qos_loss_ci, "qos_loss_upper": point.upper}
    return {
        **losses,
        **({f"{key}_pp": value for key, value in losses.items()} if unit == "pp" else {}),
        "latency_ms": point.latency_ms,
        "latency_ci_ms": point.latency_ci_ms,
        "energy_mj": point.energy_mj,
        "size_bytes": point.size_bytes,
        "measured": None if point.measured is None else asdict(point.measured),
        "divergence": point.divergence,
        "refused": point.refused,
        "settings": point.configuration.to_json(),
    }


def point_from_json(value: Mapping[str, Any]) -> OperatingPoint:
    return OperatingPoint(
        Configuration.from_json(value["settings"]),
        qos_loss=value["qos_loss"],
        latency_ms=value["latency_ms"],
        energy_mj=value["energy_mj"],
        qos_loss_ci=value["qos_loss_ci"],
        latency_ci_ms=value["latency_ci_ms"],
        qos_loss_upper=value["qos_loss_upper"],
        size_bytes=value["size_bytes"],
        refused=value["refused"],
        measured=None if value["measured"] is None else Loss(**value["measured"]),
        divergence=value["divergence"],
    )


def front_to_json(front: Front, qos: str, unit: str) -> dict[str, Any]:
    """As `front.json` holds it. qos: the name of the measure; unit: its unit."""
    return {
        "schema": 1,
        "qos": {"name": qos, "unit": unit},
        "tune_score": front.score,
        "levels": [{"level": number, **point_to_json(point, unit)} for number, point in enumerate(front.levels)],
        "points": [point_to_json(point, unit) for point in front.points],
        "predictions": [own.to_json() for own in front.trust],
        "energy": front.energy,
    }


def front_from_json(value: Mapping[str, Any]) -> Front:
    """The inverse of `front_to_json`."""
    return Front(
        tuple(map(point_from_json, value["points"])),
        tuple(map(point_from_json, value["levels"])),
        value["tune_score"],
        tuple(Trust(**own) for own in value["predictions"]),
        value["energy"],
    )
