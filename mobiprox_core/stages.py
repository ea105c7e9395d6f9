"""The stages of a run: what each depends on, which files it leaves, and how they are read back."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from . import __version__, bundle, measure, profile, together
from .adaptation import calibration_from_json, calibration_to_json
from .batches import digest_of_samples
from .configuration import EXACT_CONFIGURATION, Configuration
from .energy import meter_at
from .errors import TargetMissed
from .interfaces import Candidate, ClassConfidence, LevelCalibration, Profile, Progress, ProgressSink
from .lab import Lab, side_by_side
from .labelling import with_labels
from .ledger import Journal, Json, Ledger, digest, digest_file, shared_journal, write_json
from .measure import Front, Measurer
from .prediction import p1, p2
from .profile import summed_loss
from .progress import tell_programs
from .recalibration import Recalibrator
from .replays import replay
from .resolve import Resolved
from .selection import Demands, shortfalls
from .statistics import FEW, Calibration

if TYPE_CHECKING:
    from .measurement import OperatingPoint

CHANGES = "changes.npz"
PROFILE, CANDIDATES, FRONT, LEVELS, REPLAY, RESULT = (
    f"{name}.json" for name in ("profile", "candidates", "front", "levels", "replay", "result")
)
BUNDLE = "bundle"

CANDIDATES_PER_LEVEL = 32
"""How many a heuristic is asked for; a part of them is measured."""

TOGETHER_S = 0.3
"""Seconds of timing per technique that may pay more together."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure, stage by stage."""

    profile: profile.Effort = field(default_factory=profile.Effort)
    measure: measure.Effort = field(default_factory=measure.Effort)


@dataclass(frozen=True, slots=True)
class Tested:
    """The levels on data that no choice looked at, and what strategies may know of them.

    score: of the exact network, in the unit of the measure; losses: per level, with 95 % half-width. accuracy: of the exact network, None
    where there are no labels or it does not classify. calibration: of a network that does not classify, costs alone. reliability: per level, as
    `adaptation.Reliability` in JSON.
    """

    score: float
    losses: tuple[tuple[float, float], ...]
    accuracy: tuple[float | None, float | None]
    calibration: tuple[LevelCalibration, ...]
    reliability: tuple[Json, ...] = ()


@contextmanager
def open_lab(resolved: Resolved, progress: ProgressSink = lambda progress: None) -> Iterator[Lab]:
    """The experiment's device, with its network on it."""
    experiment = resolved.experiment
    with experiment.at("backend"):
        device = resolved.backend.open(experiment.backend.options)
    try:
        calibration = None
        if resolved.calibrate is not None:
            calibration = Calibration(resolved.network, device, resolved.calibrate, seed=experiment.seed, progress=progress)
            if len(resolved.calibrate) < FEW:
                progress(Progress("calibrate", 0, 0, f"only {len(resolved.calibrate)} inputs to fit to; {FEW} or more are better"))
        recalibrator = None
        if calibration is not None and resolved.recalibrate is not None:
            recalibrator = Recalibrator(calibration, resolved.techniques, resolved.recalibrate, progress)
        with Lab(resolved.network, device, resolved.techniques, resolved.tune.inputs, calibration, recalibrator) as lab:
            if resolved.meter is not None and experiment.energy is not None:
                with experiment.at("energy"):
                    lab.meter = meter_at(resolved.meter, experiment.energy.options, device)
            if resolved.executor is not None and experiment.executor is not None:
                with experiment.at("executor"):
                    lab.workforce = resolved.executor.open(experiment.executor.options, experiment.backend)
            lab.tune((), progress)
            yield lab
        tell_programs(device, progress)
    finally:
        device.close()


class Stages:
    """The stages of one run, each a method; one whose inputs and files are as they were is read from its files."""

    def __init__(
        self,
        resolved: Resolved,
        lab: Lab,
        ledger: Ledger,
        effort: Effort,
        progress: ProgressSink,
        observe: Callable[[OperatingPoint], None],
    ) -> None:
        self.resolved = resolved
        self.lab = lab
        self.ledger = ledger
        self.effort = effort
        self.progress = progress
        self.observe = observe
        self.common = {
            "network": resolved.network.digest,
            "calibration": "none" if lab.calibration is None else lab.calibration.digest,
            "device": dataclasses.asdict(lab.device.info),
            "backend options": resolved.experiment.backend.to_json(),
            "plugin versions": dict(resolved.plugins),
            "mobiprox version": __version__,
        }
        self.measured = {**{k: v for k, v in self.common.items() if k != "plugin versions"}, "code that runs": resolved.code}
        self.judged = {"quality of service": resolved.qos.to_json()}
        self.tuning = {**self.measured, **self.judged, "tuning data": digest_of_samples(resolved.tune)}

    # -- the stages, in order

    def profile(self) -> Profile:
        """What every setting saves and changes."""
        search = self.resolved.experiment.search
        choices = {
            "techniques": [technique.to_json() for technique in self.resolved.experiment.techniques],
            "operators to approximate": [list(search.include), list(search.exclude)],
            "effort": dataclasses.asdict(self.effort.profile),
            "accepted loss": self.resolved.max_loss,
            "plugin versions": dict(self.resolved.plugins),
        }

        def work(journal: Journal) -> None:
            found, changes = profile.profile(self.resolved, self.lab, journal, self.effort.profile, self.progress)
            write_json(self.ledger.folder / PROFILE, profile.profile_to_json(found))
            profile.write_changes(self.ledger.folder / CHANGES, changes)

        self.ledger.stage("profile", self.tuning, [PROFILE, CHANGES], work, choices, shared="profiles")
        return profile.profile_from_json(self.read(PROFILE))

    def search(self, profile: Profile) -> tuple[Candidate, ...]:
        """The heuristic's candidates."""
        import numpy as np

        experiment = self.resolved.experiment
        wanted = experiment.search
        inputs = {
            "profile": self.digest(PROFILE),
            "heuristic": [wanted.heuristic, dict(wanted.options), wanted.levels],
            "plugin versions": dict(self.resolved.plugins),
            "seed": str(experiment.seed),
        }

        def work(journal: Journal) -> None:
            rng = np.random.default_rng(experiment.seed)
            found = self.resolved.heuristic.search(profile, wanted.options, CANDIDATES_PER_LEVEL * wanted.levels, rng)
            found = together.twins(profile, found, self.pays_together(profile, journal))
            write_json(self.ledger.folder / CANDIDATES, candidates_to_json(found))

        self.ledger.stage("search", inputs, [CANDIDATES], work)
        return candidates_from_json(self.read(CANDIDATES))

    def pays_together(self, profile: Profile, journal: Journal) -> Mapping[str, float]:
        """Techniques that save clearly more when all operators take them than the profile's sum says, and by how many milliseconds."""
        spread = together.widespread(profile)
        if not spread:
            return {}
        known = journal.recall("together", list(spread))
        if known is None:
            timed = self.lab.time([EXACT_CONFIGURATION, *spread.values()], TOGETHER_S * (len(spread) + 1))
            known = journal.note("together", list(spread), value=[ms for ms, _ in side_by_side(timed)])
        exact, *others = known
        more = {name: together.beyond(profile, spread[name], exact, ms) for name, ms in zip(spread, others, strict=True)}
        return {name: ms for name, ms in more.items() if ms > 0}

    def measure(self, candidates: Sequence[Candidate], found: Profile) -> Front:
        """The front, and the levels chosen from it."""
        search, meter = self.resolved.experiment.search, self.resolved.experiment.energy
        choices = {
            "candidates": self.digest(CANDIDATES),
            "profile": [self.digest(PROFILE), self.digest(CHANGES)],
            "limits and objectives": [search.demands(), self.resolved.max_loss, search.levels],
            "energy meter": None if meter is None else meter.to_json(),
            "heuristic": [search.heuristic, dict(search.options), str(self.resolved.experiment.seed)],
            "effort": dataclasses.asdict(self.effort.measure),
            "plugin versions": dict(self.resolved.plugins),
        }
        judge = self.resolved.judge(self.resolved.tune)
        inputs = {**self.tuning, "recalibration": self.grade}

        def work(journal: Journal) -> None:
            measurer = Measurer(
                "measure", self.lab, journal, self.effort.measure, self.progress, self.observe, self.losses("tuning", inputs)
            )
            changes = profile.read_changes(self.ledger.folder / CHANGES, found)
            predictors = {"P1": p1(changes.added, changes.exact, partial(summed_loss, judge, changes)), "P2": p2(found)}
            front = measurer.front(candidates, found, predictors, judge, self.demands(), self.lab.meter, partial(self.improve, found))
            value = measure.front_to_json(front, self.resolved.qos.name, self.resolved.metric.unit)
            write_json(self.ledger.folder / FRONT, {**value, "recalibration": self.grade})

        self.ledger.stage("measure", inputs, [FRONT], work, choices)
        return measure.front_from_json(self.read(FRONT))

    def require(self, front: Front) -> None:
        """Raises TargetMissed where no level keeps every limit, not even the exact network: which, and by how much."""
        missed = shortfalls(front.points, self.demands())
        if missed:
            count = len(front.points)
            mend = [str(one) for one in missed]
            raise TargetMissed(
                f"none of {count} measured configurations keeps every limit",
                where=self.resolved.experiment.where("search"),
                mend="\n".join([*mend, "all measurements are kept: relax a limit, and take the run up with --resume"]),
            )

    def improve(self, found: Profile, points: Sequence[OperatingPoint], generation: int) -> Sequence[Candidate]:
        """What the heuristic makes of measured points, if it has a mind to."""
        import numpy as np

        if (improve := getattr(self.resolved.heuristic, "improve", None)) is None:
            return ()
        rng = np.random.default_rng([self.resolved.experiment.seed, generation])
        candidates: Sequence[Candidate] = improve(found, points, self.resolved.experiment.search.options, generation, rng)
        return candidates

    def demands(self) -> Demands:
        search = self.resolved.experiment.search
        return Demands(
            self.resolved.max_loss,
            search.levels,
            self.resolved.metric.unit,
            search.max_part_loss,
            search.max_latency_ms,
            search.max_energy_mj,
            None if search.max_size_mb is None else 1e6 * search.max_size_mb,
            search.weights,
        )

    def losses(self, split: str, inputs: Mapping[str, Json]) -> Journal:
        """Where statistics of single samples are kept, for every run on the same inputs."""
        return shared_journal("losses", digest([split, {key: inputs[key] for key in sorted(inputs)}]))

    def test(self, front: Front) -> Tested:
        """Final numbers, on test data; calibration, on tuning data."""
        tested = {**self.measured, **self.judged, "recalibration": self.grade, "test data": digest_of_samples(self.resolved.test)}
        choices = {"levels": self.digest(FRONT), "one temperature": self.resolved.experiment.one_temperature}

        def work(journal: Journal) -> None:
            measurer = Measurer("test", self.lab, journal, self.effort.measure, self.progress, losses=self.losses("test", tested))
            score, losses = measurer.tested(front.levels, self.resolved.judge(self.resolved.test))
            value = {
                "schema": 1,
                "qos": {"name": self.resolved.qos.name, "unit": self.resolved.metric.unit},
                "test_score": score,
                "test_qos_losses": losses,
            }
            write_json(self.ledger.folder / LEVELS, {**value, **self.adaptation(measurer, front)})

        self.ledger.stage("test", {**self.tuning, **tested}, [LEVELS], work, choices)
        value = self.read(LEVELS)
        losses = tuple((loss, ci) for loss, ci in value["test_qos_losses"])
        tune, test = value["accuracy"]
        calibration = calibration_from_json(value["calibration"], LEVELS)
        return Tested(value["test_score"], losses, (tune, test), calibration, tuple(value["reliability"]))

    def adaptation(self, measurer: Measurer, front: Front) -> dict[str, Json]:
        """What strategies may know of the levels, and how far it holds on test data."""
        tune, test = self.resolved.tune, self.resolved.test
        if not self.resolved.metric.classifies:
            nothing = ClassConfidence(0, 0, None, None)
            costs = (level.latency_ms / front.levels[0].latency_ms for level in front.levels)
            known = [LevelCalibration(cost, None, 1.0, nothing, (nothing,)) for cost in costs]
            return {"accuracy": [None, None], "calibration": calibration_to_json(known), "reliability": [None] * len(known)}
        softmax, one = self.resolved.already_softmax, self.resolved.experiment.one_temperature
        calibration = measurer.calibrated(front.levels, tune, softmax, one)
        reliability, accuracy = measurer.reliability(front.levels, calibration, test, softmax)
        return {
            "accuracy": [calibration[0].accuracy, accuracy],
            "calibration": calibration_to_json(calibration),
            "reliability": [own.to_json() for own in reliability],
        }

    def bundle(self, front: Front, tested: Tested) -> None:
        """The folder that ships."""
        experiment, metric = self.resolved.experiment, self.resolved.metric
        inputs = {
            **self.common,
            "levels": [self.digest(FRONT), self.digest(LEVELS)],
            "strategy": None if experiment.strategy is None else experiment.strategy.to_json(),
            "experiment": experiment.digest,
        }

        def work(journal: Journal) -> None:
            if experiment.strategy is not None and self.resolved.strategy is not None:
                with experiment.at("strategy"):  # one that refuses these levels is told of now, not to whoever opens the bundle
                    self.resolved.strategy.create(experiment.strategy.options, tested.calibration)
            levels = [level.configuration for level in front.levels]
            self.lab.tune(levels, self.progress)
            plan = self.lab.lower(levels, self.lab.single)
            if metric.classifies:
                plan = with_labels(plan, [level.temperature for level in tested.calibration], self.resolved.already_softmax)
            bundle.write(
                bundle.Bundle(
                    plan=plan,
                    backend=experiment.backend,
                    points=front.levels,
                    qos=bundle.Qos(self.resolved.qos.name, metric.unit, metric.higher_is_better, metric.classifies),
                    calibration=tested.calibration,
                    strategy=experiment.strategy,
                    classes=self.resolved.classes,
                    already_softmax=self.resolved.already_softmax,
                    provenance=self.provenance(),
                ),
                self.ledger.folder / BUNDLE,
            )

        self.ledger.stage("bundle", inputs, [f"{BUNDLE}/{file}" for file in bundle.FILES], work)

    def replay(self, front: Front, tested: Tested) -> Json | None:
        """The strategy over the trace; None where the experiment has none."""
        experiment, trace, offer = self.resolved.experiment, self.resolved.trace, self.resolved.strategy
        if experiment.strategy is None or trace is None or offer is None:
            return None
        choice = experiment.strategy
        inputs = {
            **self.common,
            "levels": [self.digest(FRONT), self.digest(LEVELS)],
            "strategy": choice.to_json(),
            "trace": digest_of_samples(trace),
        }

        def work(journal: Journal) -> None:
            walked = replay(
                offer.create(choice.options, tested.calibration),
                self.lab.outputs([level.configuration for level in front.levels], trace.inputs),
                tested.calibration,
                trace.labels,
                already_softmax=self.resolved.already_softmax,
                notes=() if trace.notes is None else trace.notes.tolist(),
                groups=trace.groups,
            )
            write_json(self.ledger.folder / REPLAY, {"schema": 1, "strategy": choice.name, **walked.to_json()})

        self.ledger.stage("replay", inputs, [REPLAY], work)
        return self.read(REPLAY)

    # -- what they share

    @property
    def grade(self) -> str:
        """How levels are corrected."""
        return self.resolved.recalibrate or "off"

    def read(self, file: str) -> Json:
        return json.loads((self.ledger.folder / file).read_text(encoding="utf-8"))

    def digest(self, file: str) -> str:
        return digest_file(self.ledger.folder / file)

    def provenance(self) -> dict[str, Json]:
        """What the numbers were made with (DESIGN.md D11)."""
        experiment = self.resolved.experiment
        _, refused = profile.feasible(self.resolved.space, self.resolved.techniques, self.lab.device.info)
        return {
            "experiment": experiment.digest,
            "network": self.resolved.network.digest,
            "mobiprox": __version__,
            "plugins": dict(self.resolved.plugins),
            "device": dataclasses.asdict(self.lab.device.info),
            "precision": "float32, except where a setting says otherwise",
            "calibration inputs": 0 if self.resolved.calibrate is None else len(self.resolved.calibrate),
            "recalibration": self.grade,
            "seed": experiment.seed,
            "python": platform.python_version(),
            "system": platform.platform(),
            **({"left out on this device": list(refused)} if refused else {}),
            **self.remarks(),
        }

    def remarks(self) -> dict[str, Json]:
        """What a device has to say of its measurements, where it may warm up, restart or crash."""
        told = getattr(self.lab.device, "remarks", None)
        return {} if told is None else {"remarks of the device": told()}


def candidates_to_json(candidates: Sequence[Candidate]) -> Json:
    """As `candidates.json` holds them."""
    rows = [{"latency_ms": c.latency_ms, "divergence": c.divergence, "settings": c.configuration.to_json()} for c in candidates]
    return {"schema": 1, "candidates": rows}


def candidates_from_json(value: Mapping[str, Any]) -> tuple[Candidate, ...]:
    return tuple(Candidate(Configuration.from_json(c["settings"]), c["latency_ms"], c["divergence"]) for c in value["candidates"])
