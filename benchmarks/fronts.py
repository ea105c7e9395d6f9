"""What calibration buys: the search on six networks, with everything fitted and as in the paper.

    MOBIPROX_DATA=../shared/data python benchmarks/fronts.py [--out DIR] [--write] [NETWORK ...]

Runs the recipes in examples/calibration (refit, choose, recalibrate: full), and each once more with `refit: off` and `recalibrate: off`.
Latencies are measured, of whole inferences at batch 1 against the exact network; losses are those on test data, which no choice looked at.
A run that was interrupted goes on where it was. One JSON per network is left in DIR (runs/fronts), with every level; one table says the
fastest level that loses at most a point, another whether the calibrated front lies on or above the other everywhere. --write puts both
into docs/calibration.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes import described, fastest, geometric_mean, loss_pp, put, search

from mobiprox_core import experiment as experiments
from mobiprox_core import plugins
from mobiprox_core.experiment import Choice, Experiment

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "examples" / "calibration"
PAGE = ROOT / "docs" / "calibration.md"
MARKS = "<!-- fronts: made by benchmarks/fronts.py -->", "<!-- end of fronts -->"
MOST_LOSS_PP = 1.0
NEXT = 2
SAME = 1.01
"""Speedups that differ by less are the same: the two conditions are measured one after the other."""
CONDITIONS = ("calibrated", "off")
PLAIN = {"filter_sampling": {"refit": "off"}, "perforation": {"fill": "mean"}}
"""Options of techniques without any fit."""


def uncalibrated(experiment: Experiment) -> Experiment:
    """The same without any fit: the paper's techniques."""
    techniques = [Choice(choice.name, {**choice.options, **PLAIN.get(choice.name, {})}) for choice in experiment.techniques]
    return replace(experiment, techniques=tuple(techniques), search=replace(experiment.search, recalibrate="off"))


def measure(name: str, out: Path) -> Path:
    """Both conditions of a recipe; the file with what they came to."""
    registry = plugins.load()
    given = experiments.load(RECIPES / f"{name}.yaml", registry)
    found = {}
    for condition, experiment in zip(CONDITIONS, (given, uncalibrated(given)), strict=True):
        print(f"{name}, {condition}", file=sys.stderr, flush=True)
        found[condition] = search(experiment, registry, out / name / condition)
    target = out / f"{name}.json"
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return target


def table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, one row per network; with the calibrated levels that come next, since few test data put a level on either side of a point."""
    lines = [
        "| network | exact, ms | calibrated: speedup | test loss, pp | not calibrated: speedup | test loss, pp | next calibrated levels |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    speedups: dict[str, list[float]] = {condition: [] for condition in CONDITIONS}
    for name, both in summaries.items():
        cells = []
        for condition in CONDITIONS:
            level = fastest(both[condition], MOST_LOSS_PP)
            speedup = both[condition]["levels"][0]["latency_ms"] / level["latency_ms"]
            speedups[condition].append(speedup)
            cells += [f"{speedup:.2f}x", f"{loss_pp(level):.1f}"]
        exact, *levels = both[CONDITIONS[0]]["levels"]
        after = fastest(both[CONDITIONS[0]], MOST_LOSS_PP)["latency_ms"]
        later = [level for level in levels if level["latency_ms"] < after][:NEXT]
        cells += [", ".join(f"{exact['latency_ms'] / level['latency_ms']:.2f}x at {loss_pp(level):.1f}" for level in later)]
        lines.append(f"| `{name}` | {exact['latency_ms']:.3g} | {' | '.join(cells)} |")
    means = [geometric_mean(own) for own in speedups.values()]
    lines.append(f"| *geometric mean* | | *{means[0]:.2f}x* | | *{means[1]:.2f}x* | | |")
    return "\n".join(lines)


def above(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: for every uncalibrated level the calibrated one of least test loss that is as fast; how much more it loses where it does."""
    lines = [
        "| network | uncalibrated levels | of these, a calibrated one is as fast and loses no more | farthest below, pp | its half-width, pp |",
        "| --- | --- | --- | --- | --- |",
    ]
    kept = 0
    for name, both in summaries.items():
        calibrated, (_, *others) = (both[condition]["levels"] for condition in CONDITIONS)
        below = [(short_of(level, calibrated), level["test_qos_loss_ci"]) for level in others]
        met = sum(more <= 0 for more, _ in below)
        worst, half = max(below, default=(0.0, 0.0))
        kept += all(more <= half for more, half in below)
        cells = [f"{worst:.1f}", f"{half:.1f}"] if worst > 0 else ["", ""]
        lines.append(f"| `{name}` | {len(others)} | {met} | {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Within the interval of what is lost the calibrated front lies on or above the other everywhere on {kept} of {len(summaries)} networks.",
        ]
    )


def short_of(level: Mapping[str, Any], front: Sequence[Mapping[str, Any]]) -> float:
    """By how many points more the best level of a front loses that is at least as fast; infinite where none is."""
    fast = [loss_pp(other) for other in front if other["speedup"] * SAME >= level["speedup"]]
    return min(fast, default=float("inf")) - loss_pp(level)


def main(arguments: Sequence[str] | None = None) -> None:
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(names)}; all if none is named")
    parser.add_argument("--out", type=Path, default=Path("runs") / "fronts", help="where runs and results go")
    parser.add_argument("--write", action="store_true", help="put the table of everything that is in DIR into docs/calibration.md")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.networks) - set(names)):
        parser.error(f"there is no recipe '{unknown[0]}'; there are: {', '.join(names)}")
    for name in options.networks or names:
        measure(name, options.out)
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name in names if (file := options.out / f"{name}.json").exists()}
    text = f"{table(found)}\n\n{above(found)}"
    print(text)
    if options.write:
        put(f"{text}\n\n{described(next(iter(found.values()))[CONDITIONS[0]])}", PAGE, MARKS)


if __name__ == "__main__":
    main()
