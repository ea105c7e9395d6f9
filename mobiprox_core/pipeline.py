"""The road from a trained network to a bundle, as DESIGN.md draws it. Each stage takes values and returns new ones.

::

    experiment ── resolve ──▶ network, data, plugins, knob space
               ── profile ──▶ what every setting saves and changes         profile.json
               ── search ───▶ configurations worth trying                  candidates.json
               ── measure ──▶ front, and the levels chosen from it         front.json
               ── test ─────▶ final numbers, calibration                   levels.json
               ── bundle ───▶ what ships                                   bundle/
               ── replay ───▶ the strategy over the trace                  replay.json
               ── report ───▶ for people and programs                      report.html, result.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import experiment as experiments
from . import plugins
from .interfaces import Progress, ProgressSink
from .ledger import Json, Ledger
from .resolve import resolve
from .results import summary, write_report
from .revisit import measure_bundle, replay_bundle
from .stages import Effort, Stages, open_lab

if TYPE_CHECKING:
    from .experiment import Experiment
    from .measurement import OperatingPoint
    from .plugins import Registry

__all__ = ["Effort", "Result", "check", "measure_bundle", "replay_bundle", "run", "run_file", "write_report"]


DEFAULT_EFFORT = Effort()


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to; `folder` has the files."""

    folder: Path
    summary: Json

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def to_json(self) -> Json:
        """The object that ``mobiprox run --json`` prints, and `result.json` holds."""
        return self.summary


def _quiet(progress: Progress) -> None:
    """The sink of a caller who wants no progress."""


def run(
    experiment: Experiment,
    registry: Registry,
    out: Path,
    resume: bool = False,
    progress: ProgressSink = _quiet,
    effort: Effort = DEFAULT_EFFORT,
) -> Result:
    """All stages. With `resume`, those that an earlier run in `out` finished on the same inputs are not done again."""

    def sink(step: Progress) -> None:
        progress(step)
        registry.notify("mobiprox_progress", progress=step)

    def observe(point: OperatingPoint) -> None:
        if (measured := getattr(progress, "measured", None)) is not None:  # a sink that shows more than how far it is
            measured(point)
        registry.notify("mobiprox_point_measured", point=point)

    sink(Progress("resolve", 0, 0))
    resolved = resolve(experiment, registry)
    ledger = Ledger(out, resume=resume, say=lambda stage, text: sink(Progress(stage, 0, 0, text)))
    with open_lab(resolved, sink) as lab:
        stages = Stages(resolved, lab, ledger, effort, sink, observe)
        profile = stages.profile()
        candidates = stages.search(profile)
        front = stages.measure(candidates, profile)
        stages.require(front)
        tested = stages.test(front)
        stages.bundle(front, tested)
        replayed = stages.replay(front, tested)
        result = Result(out, summary(stages, profile, front, tested, replayed))
    write_report(out)
    return result


def check(experiment: Experiment, registry: Registry) -> None:
    """Load and resolve everything, run nothing. Raises what `run` would raise before its first measurement."""
    resolve(experiment, registry)


def run_file(path: str | Path, out: str | Path | None = None, resume: bool = False) -> Result:
    """Run an experiment file from Python; `out` is runs/NAME if left out."""
    registry = plugins.load()
    path = Path(path)
    return run(experiments.load(path, registry), registry, Path(out) if out else default_folder(path), resume)


def default_folder(path: Path) -> Path:
    """Where the results of an experiment file go if nobody says."""
    return Path("runs") / (path.stem if path.stem != "experiment" else path.resolve().parent.name)
