"""Tables 2 and 3 of the Mobiprox paper, and what its figures 3, 5 and 6 show: how long tuning takes, and whether predictions come true.

::

    export MOBIPROX_DATA=/path/to/data
    python examples/paper/tuning.py --out runs/paper [NETWORK ...]

Each network is tuned twice with the paper's own knobs: first with an empty cache, then again in another folder with what the first run
kept. A run is whole: from the network to measured levels, tested, calibrated and bundled. The paper's first tuning ends with predictions (table
2, on a server GPU); its measurements on the device come after (table 3). A run that was interrupted is begun anew: its time would be wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from mobiprox_core import measure, profile
from mobiprox_core.prediction import Table

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Paper:
    """first_s, later_s: tuning (table 2); device_s: profiling on the device (table 3); fastest: best speedup on the device that loses at most 3
    points. predicted, measured: greatest speedups by prediction and on the device, where they are known."""

    first_s: float
    later_s: float
    device_s: float
    fastest: float
    predicted: float | None = None
    measured: float | None = None


PAPER = {
    "alexnet2_cifar10": Paper(574, 184, 36 * 60, 1.149),
    "vgg16_cifar10": Paper(1216, 264, 42 * 60, 1.311),
    "mobilenet_uci-har": Paper(1203, 253, 42 * 60, 1.155, 2.801, 1.261),
}

TIMES = ("first", "later")


def tune(name: str, out: Path) -> Mapping[str, float]:
    """Seconds of both runs; those of an earlier call if it finished."""
    folder = out / f"tuning_{name}"
    kept = folder / "times.json"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder.resolve() / "cache")}
        found = {}
        for time in TIMES:
            started = perf_counter()
            command = [sys.executable, "-m", "mobiprox_core", "run", str(HERE / f"tuning_{name}.yaml"), "--out", str(folder / time)]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            found[time] = perf_counter() - started
        kept.write_text(json.dumps(found), encoding="utf-8")
        shutil.rmtree(folder / "cache")
    times: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    return times


@dataclass(frozen=True)
class Points:
    """What was measured whole: speedups as the savings of single settings add up to, and as measured; summed divergences, and losses in points."""

    predicted: np.ndarray
    measured: np.ndarray
    divergence: np.ndarray
    loss_pp: np.ndarray


def points(folder: Path) -> Points:
    """Of a finished run."""
    table = Table.of(profile.profile_from_json(json.loads((folder / "profile.json").read_text(encoding="utf-8"))))
    front = measure.front_from_json(json.loads((folder / "front.json").read_text(encoding="utf-8")))
    own = [point for point in front.points if point.configuration.settings and table.knows(point.configuration)]
    saving, divergence, _ = table.sums(table.codes(point.configuration for point in own))
    exact = front.levels[0].latency_ms
    return Points(
        table.exact_ms / (table.exact_ms - saving),
        np.array([exact / point.latency_ms for point in own]),
        divergence,
        np.array([point.qos_loss for point in own]),
    )


def row(name: str, times: Mapping[str, float], summary: Mapping[str, Any], found: Points) -> dict[str, Any]:
    """One network: times, the fastest level within 3 points, and how far predictions were off."""
    paper = PAPER[name]
    exact = summary["levels"][0]["latency_ms"]
    good = [level for level in summary["levels"] if level["test_qos_loss"] <= 3]
    return {
        "network": name,
        **{f"{time}_s": times[time] for time in TIMES},
        "paper_first_s": paper.first_s + paper.device_s,
        "paper_later_s": paper.later_s + paper.device_s,
        "levels": len(summary["levels"]),
        "fastest": max(exact / level["latency_ms"] for level in good),
        "paper_fastest": paper.fastest,
        "error_percent": 100 * float(np.median(np.abs(found.predicted / found.measured - 1))),
        "paper_error_percent": None if paper.predicted is None or paper.measured is None else 100 * (paper.predicted / paper.measured - 1),
        "verdict": "reached" if times["first"] <= paper.first_s else "slower",
    }


def draw(every: Mapping[str, Points], path: Path) -> None:
    """Predicted against measured: speedups, and losses."""
    from matplotlib import pyplot

    figure, (speedups, losses) = pyplot.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for (name, own), marker in zip(every.items(), "osD^vP", strict=False):
        speedups.scatter(own.predicted, own.measured, marker=marker, alpha=0.7, s=18, label=name)
        losses.scatter(own.divergence, own.loss_pp, marker=marker, alpha=0.7, s=18, label=name)
    greatest = max(float(max(own.predicted.max(), own.measured.max())) for own in every.values())
    speedups.plot([1, greatest], [1, greatest], color="0.5", linewidth=0.8)
    speedups.set(xlabel="speedup that the profile of single settings predicts", ylabel="speedup measured")
    losses.set(xlabel="summed divergence of single settings", ylabel="loss measured, points", xscale="log")
    for axes in (speedups, losses):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    print(
        "Tuning, seconds, device included; fastest measured level within 3 points; median error of predicted speedups. In brackets the paper's."
    )
    for own in rows:
        error = "" if own["paper_error_percent"] is None else f" ({own['paper_error_percent']:.0f} %)"
        print(
            f"{own['network']:20} first {own['first_s']:.0f} ({own['paper_first_s']:.0f})  later {own['later_s']:.0f} ({own['paper_later_s']:.0f})"
            f"  {own['levels']} levels  {own['fastest']:.2f}x ({own['paper_fastest']:.2f}x)  {own['error_percent']:.0f} %{error}  {own['verdict']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(PAPER)}; all if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the results")
    given = parser.parse_args()
    if unknown := set(given.networks) - set(PAPER):
        parser.error(f"there is no network {unknown.pop()} here; there are {', '.join(PAPER)}")
    found, rows = {}, []
    for name in given.networks or PAPER:
        times = tune(name, given.out)
        folder = given.out / f"tuning_{name}" / TIMES[0]
        found[name] = points(folder)
        rows.append(row(name, times, json.loads((folder / "result.json").read_text(encoding="utf-8")), found[name]))
    (given.out / "tuning.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    draw(found, given.out / "predictions.svg")
    show(rows)


if __name__ == "__main__":
    main()
