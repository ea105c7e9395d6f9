"""Tables 2 and 3 of the Mobiprox paper, and what its figures 3, 5 and 6 show: how long tuning takes, and whether predictions come true.

::

    export MOBIPROX_DATA=/path/to/data
    python examples/paper/tuning.py --out runs/paper [--write] [NETWORK ...]

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
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from mobiprox_core import measure, profile
from mobiprox_core.prediction import POWERS, Scale, Table, rank_correlation

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "paper.md"
MARKS = "<!-- tuning: made by examples/paper/tuning.py -->", "<!-- end of tuning -->"

INTRODUCTION = """### Tuning time and predictions

The paper searched by predictions on a server GPU and measured on its board afterwards, hence two times; ours is one run from the network to
measured, tested and bundled levels. *Reached* means in no more time than the paper's predictions alone. How far predictions were off is the
median over all configurations that were measured, also those that lose far too much. Losses are told by a scale fitted to the other half of the
configurations, and count up to 5 points."""

MOST_PP = 3.0
NEAR_PP = 5.0
"""Losses up to which a prediction's error counts: what any of the recipes may lose at least."""


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
    """What was measured whole, float64[M] each: speedups and losses in points, as single settings told them and as measured.

    A speedup is predicted as the savings of single settings add up to. A summed divergence is not in points: half of the configurations say
    how many points go with it; losses are those of the other half, float64[M / 2].
    """

    predicted: np.ndarray
    measured: np.ndarray
    predicted_pp: np.ndarray
    measured_pp: np.ndarray


def points(folder: Path) -> Points:
    """Of a finished run."""
    table = Table.of(profile.profile_from_json(json.loads((folder / "profile.json").read_text(encoding="utf-8"))))
    front = measure.front_from_json(json.loads((folder / "front.json").read_text(encoding="utf-8")))
    known = {p: p.measured for p in front.points if p.configuration.settings and p.measured is not None and table.knows(p.configuration)}
    saving, divergence, _ = table.sums(table.codes(p.configuration for p in known))
    losses, errors = (np.array([getattr(own, of) for own in known.values()]) for of in ("value", "error"))
    order = np.argsort(divergence)
    told, held = order[::2], order[1::2]
    scale = Scale.fitted(divergence[told], losses[told], errors[told], MOST_PP, POWERS)
    exact = front.levels[0].latency_ms
    return Points(
        table.exact_ms / (table.exact_ms - saving), np.array([exact / p.latency_ms for p in known]), scale(divergence[held]), losses[held]
    )


def row(name: str, times: Mapping[str, float], summary: Mapping[str, Any], found: Points) -> dict[str, Any]:
    """One network: times, the fastest level within 3 points of test data, and how far predictions were off."""
    paper = PAPER[name]
    exact = summary["levels"][0]["latency_ms"]
    best = min((level for level in summary["levels"] if level["test_qos_loss"] <= MOST_PP), key=lambda level: level["latency_ms"])
    near = found.measured_pp <= NEAR_PP
    off = np.abs(found.predicted / found.measured - 1)
    return {
        "network": name,
        **{f"{time}_s": times[time] for time in TIMES},
        "levels": len(summary["levels"]),
        "fastest": exact / best["latency_ms"],
        "loss_pp": best["test_qos_loss"],
        "configurations": len(found.measured),
        "error_percent": 100 * float(np.median(off)),
        "greatest_error_percent": 100 * float(off.max()),
        "rank": rank_correlation(found.predicted, found.measured),
        "error_pp": float(np.median(np.abs(found.predicted_pp - found.measured_pp)[near])) if near.any() else None,
        "rank_pp": rank_correlation(found.predicted_pp, found.measured_pp),
        "paper": {
            **asdict(paper),
            "error_percent": 100 * (paper.predicted / paper.measured - 1) if paper.predicted and paper.measured else None,
        },
        "verdict": "reached" if times["first"] <= paper.first_s else "slower",
        "device": summary["provenance"]["device"],
    }


def draw(every: Mapping[str, Points], path: Path) -> None:
    """Predicted against measured: speedups, and losses."""
    from matplotlib import pyplot

    figure, both = pyplot.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for (name, own), marker in zip(every.items(), "osD^vP", strict=False):
        for axes, pair in zip(both, ((own.predicted, own.measured), (own.predicted_pp, own.measured_pp)), strict=True):
            axes.scatter(*pair, marker=marker, alpha=0.7, s=18, label=name)
    for axes, what in zip(both, ("speedup", "loss, percentage points"), strict=True):
        axes.axline((1, 1), slope=1, color="0.5", linewidth=0.8)
        axes.set(xlabel=f"predicted {what}", ylabel=f"measured {what}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the paper's figures, ours, and a verdict."""
    lines = [
        "| network | first tuning: paper | ours | later: paper | ours | verdict | fastest within 3 points: paper | ours | speedups predicted to | losses predicted to |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for own in rows:
        paper = own["paper"]
        theirs = [f"{paper[key]:g} s + {paper['device_s'] / 60:g} min" for key in ("first_s", "later_s")]
        error = "" if paper["error_percent"] is None else f" (paper {paper['error_percent']:.0f} %)"
        cells = [
            f"`{own['network']}`",
            theirs[0],
            f"{own['first_s']:.0f} s",
            theirs[1],
            f"{own['later_s']:.0f} s",
            own["verdict"],
            f"{paper['fastest']:.2f}x",
            f"{own['fastest']:.2f}x at {own['loss_pp']:.1f}; {own['levels']} levels",
            f"{own['error_percent']:.0f} %, at worst {own['greatest_error_percent']:.0f} %, rank {_told(own['rank'])}{error}",
            f"{_told(own['error_pp'], 1)} points, rank {_told(own['rank_pp'])}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    device = rows[0]["device"]
    lines += ["", f"Measured on {device['name']}, {device['isa']}, {device['threads']} thread(s), {device['runtime']}."]
    return "\n".join(lines)


def _told(value: float | None, digits: int = 2) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def write(text: str, picture: Path) -> None:
    """Put both into the documentation."""
    begin, end = MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    shown = "![Predicted against measured speedups and losses](pictures/paper_predictions.svg)"
    PAGE.write_text(f"{before}{begin}\n{INTRODUCTION}\n\n{text}\n\n{shown}\n{end}{after}", encoding="utf-8")
    shutil.copy(picture, PAGE.parent / "pictures" / "paper_predictions.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(PAPER)}; all if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the results")
    parser.add_argument("--write", action="store_true", help="put it all into docs/paper.md")
    given = parser.parse_args()
    if unknown := set(given.networks) - set(PAPER):
        parser.error(f"there is no network {unknown.pop()} here; there are {', '.join(PAPER)}")
    found, rows = {}, []
    for name in given.networks or PAPER:
        times = tune(name, given.out)
        folder = given.out / f"tuning_{name}" / TIMES[0]
        found[name] = points(folder)
        rows.append(row(name, times, json.loads((folder / "result.json").read_text(encoding="utf-8")), found[name]))
    picture, text = given.out / "predictions.svg", page(rows)
    (given.out / "tuning.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    draw(found, picture)
    print(text)
    if given.write:
        write(text, picture)


if __name__ == "__main__":
    main()
