"""What the benchmarks that run recipes share: the search, the choice of a level, and putting a table into a page."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from mobiprox_core import measure, pipeline, profile
from mobiprox_core.experiment import Experiment
from mobiprox_core.interfaces import Progress
from mobiprox_core.plugins import Registry

EFFORT = pipeline.Effort(profile=profile.Effort(output_s=100.0), measure=measure.Effort(least=28))
"""Longer than by default: with dozens of operators, what a setting changes is else seen on too few inputs to tell good ones from lucky ones,
and of candidates that are corrected one by one, few would be measured.
"""


def search(experiment: Experiment, registry: Registry, out: Path, effort: pipeline.Effort = EFFORT) -> Mapping[str, Any]:
    """The summary of a run in a folder; one that was interrupted goes on where it was."""
    return pipeline.run(experiment, registry, out, resume=True, progress=_say, effort=effort).summary


def fastest(summary: Mapping[str, Any], most_loss_pp: float) -> Mapping[str, Any]:
    """The fastest level that loses at most so much of test data; level 0 loses nothing."""
    return min((level for level in summary["levels"] if loss_pp(level) <= most_loss_pp), key=lambda level: level["latency_ms"])


def loss_pp(level: Mapping[str, Any]) -> float:
    return float(level["test_qos_loss"])


def geometric_mean(values: Iterable[float]) -> float:
    every = list(values)
    return prod(every) ** (1 / len(every))


def described(summary: Mapping[str, Any]) -> str:
    device = summary["provenance"]["device"]
    return f"Measured on {device['name']}, {device['isa']}, {device['threads']} thread(s), {device['runtime']}; Mobiprox {summary['provenance']['mobiprox']}."


def put(text: str, page: Path, marks: tuple[str, str]) -> None:
    """Put a text into a page, between its marks."""
    begin, end = marks
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _say(step: Progress) -> None:
    if step.done == 0:
        print(f"  {step.stage} {step.note}", file=sys.stderr, flush=True)
