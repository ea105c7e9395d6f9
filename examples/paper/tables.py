"""Tables 4, 5 and 6 of the Mobiprox paper beside ours, and figures 7, 8 and 9: the paper's value, ours, and a verdict.

::

    export MOBIPROX_DATA=/path/to/data
    python examples/paper/tables.py 4 5 6 --out runs/paper [--write]

Each table is two experiment files of this folder, with calibrated approximations and, ``_plain``, with the paper's own; what an
earlier call finished is not done again, and one that was interrupted goes on where it was. The cost is time on this machine's device
(the paper's: energy on its board), relative to the exact network. --write puts everything that is in the folder into docs/paper.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from figures import FIGURES
from guarantee import split_at_random
from page import CALIBRATED, PLAIN, page, promise

from mobiprox_core import bundle, experiment, measure, pipeline, plugins, profile
from mobiprox_core.datasets import taken
from mobiprox_core.experiment import Choice, Experiment
from mobiprox_core.interfaces import Dataset, LevelCalibration, Samples
from mobiprox_core.plugins import Registry
from mobiprox_core.progress import ProgressPrinter
from mobiprox_core.replays import Trace, cheapest, sweep
from mobiprox_core.revisit import outputs_of_levels

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "paper.md"
MARKS = "<!-- results: made by examples/paper/tables.py -->", "<!-- end of results -->"

EFFORT = pipeline.Effort(profile.Effort(output_s=40.0), measure.Effort(least=24))
"""More than by default: with dozens of operators, what a setting changes is else seen on too few inputs to tell good ones from lucky ones."""


@dataclass(frozen=True)
class Row:
    """A strategy. loss_pp, cost: what the paper has for it; None where it has no such strategy. grid: values of options to choose from on
    a rehearsal: a stream of users or speakers that tuning knows."""

    strategy: Choice
    loss_pp: float | None = None
    cost: float | None = None
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """run: the folder of the run, which tables of the same levels share. labels: whether losses are told by labels; else by agreement with the
    exact network. goals: a loss and a cost to be no worse than, for each of CONDITIONS; None where there is no goal. may_lose_pp: what
    options may lose on the rehearsal, at the upper end of the interval. groups: whether that is over speakers; three users tell nothing."""

    title: str
    run: str
    exact: float
    rows: tuple[Row, ...]
    labels: bool
    goals: tuple[tuple[float, float] | None, ...]
    may_lose_pp: float
    groups: bool = False


def row(name: str, loss_pp: float | None = None, cost: float | None = None, **options: Any) -> Row:
    return Row(Choice(name, options), loss_pp, cost)


CONDITIONS = (CALIBRATED, PLAIN)

OURS = (
    row("kalman"),
    Row(
        Choice("cascade", {}),
        grid={"level": range(1, 11), "again": range(4), "threshold": (0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95), "change": (0, 0.5, 0.9)},
    ),
    row("guarded", max_loss_pp=2, unit="sample"),
)

TABLES: Mapping[int, Table] = {
    4: Table(
        "activities, recordings with labels",
        "activities",
        0.65,
        (
            row("confidence", 2, 0.854, increase="exponential"),
            row("state", 2, 0.867, increase="linear"),
            row("naive", 1, 0.946, increase="exponential"),
            *OURS,
        ),
        True,
        ((1.0, 0.45), None),
        1.0,
    ),
    5: Table(
        "keywords under varying noise",
        "keywords",
        0.96,
        (
            row("confidence", 0, 0.852, increase="exponential"),
            row("confidence", 0, 0.852, increase="linear"),
            row("state", increase="linear"),
            row("naive", increase="exponential"),
            *OURS,
        ),
        True,
        ((0.0, 0.30), (0.0, 0.60)),
        1.0,  # that nothing at all is lost can be shown on no stream
        groups=True,
    ),
    6: Table(
        "activities, recordings without labels",
        "activities",
        1.0,
        (
            row("confidence", 17, 0.85, increase="exponential"),
            row("state", 9, 0.88, increase="linear"),
            row("naive", increase="exponential"),
            *OURS,
        ),
        False,
        ((5.0, 0.45), None),
        5.0,
    ),
}
"""Values of the paper: MobileNet on 15 users (4), the Honk network (5), agreement of 10 users (6)."""


def fitted(row: Row, seen: Trace, calibration: Sequence[LevelCalibration], registry: Registry, may_lose_pp: float) -> Choice:
    """The strategy of a row, with the options of its grid that cost least and surely lose no more than they may on the rehearsal; where none
    is sure, the surest."""
    if not row.grid:
        return row.strategy
    tried = sweep(seen, registry.get("strategy", row.strategy.name), calibration, row.grid, row.strategy.options)
    best = cheapest(tried, may_lose_pp) or min(tried, key=lambda point: point.loss_upper_pp)
    return Choice(row.strategy.name, dict(best.options))


def rehearsal(wanted: Experiment, dataset: Dataset) -> Samples:
    """A stream of users or speakers that tuning knows, without those whom levels are fitted to: they would flatter them."""
    assert wanted.trace is not None
    seen = dataset.load("rehearsal", wanted.trace.options, HERE)
    if wanted.calibrate is None:
        return seen
    fitted_to = dataset.load(wanted.calibrate.split, wanted.calibrate.options, HERE)
    return taken(seen, np.flatnonzero(~np.isin(seen.groups, fitted_to.groups)))


def verdict(loss_pp: float, cost: float, wanted_loss_pp: float, wanted_cost: float) -> str:
    if loss_pp <= wanted_loss_pp:
        return "reached" if cost <= wanted_cost else "as accurate, dearer"
    return "cheaper, less accurate" if cost <= wanted_cost else "missed"


def compared(table: Table, replays: Sequence[Mapping[str, Any]], goal: tuple[float, float] | None) -> list[dict[str, Any]]:
    """One entry per row: the paper's loss and cost, ours, and the verdicts against the paper and against the goal.

    A goal of no loss is missed by a loss that the interval tells from none.
    """
    entries = []
    for wanted, walk in zip(table.rows, replays, strict=True):
        gain, cost = walk["against_exact"], walk["relative_cost"]
        loss = {"loss_pp": 0 - gain["difference_pp"], "loss_low_pp": 0 - gain["high_pp"], "loss_high_pp": 0 - gain["low_pp"]}
        paper = reached = None
        if wanted.loss_pp is not None and wanted.cost is not None:
            paper = {"loss_pp": wanted.loss_pp, "relative_cost": wanted.cost}
            reached = verdict(loss["loss_pp"], cost, wanted.loss_pp, wanted.cost)
        entries.append(
            {
                "strategy": wanted.strategy.name,
                "options": dict(walk["options"]),
                "chosen": sorted(wanted.grid),
                "paper": paper,
                "ours": {**loss, "relative_cost": cost, "units": gain["units"]},
                "against_static": walk["against_static"],
                "verdict": reached,
                "goal": None if goal is None else verdict(loss["loss_pp" if goal[0] else "loss_low_pp"], cost, *goal),
            }
        )
    return entries


def reproduce(number: int, condition: str, out: Path, registry: Registry, effort: pipeline.Effort = EFFORT) -> dict[str, Any]:
    """Run an experiment of a table, or take it up, and replay the strategies of its rows; leaves the figure, and what is returned as JSON."""
    suffix = "" if condition == CONDITIONS[0] else f"_{condition}"
    wanted = experiment.load(HERE / f"table{number}{suffix}.yaml", registry)
    table, folder = TABLES[number], out / f"{TABLES[number].run}{suffix}"
    with ProgressPrinter() as progress:
        result = pipeline.run(wanted, registry, folder, resume=True, progress=progress, effort=effort)
        assert wanted.trace is not None
        dataset = registry.get("dataset", wanted.trace.dataset)
        seen = rehearsal(wanted, dataset)
        judged = [dataset.load(split, wanted.trace.options, HERE) for split in ("tune", "test")] if table.labels else []
        made = bundle.read(result.bundle)
        outputs = outputs_of_levels(made, registry, np.concatenate([part.inputs for part in (seen, *judged)]), progress)
        rehearsed, outputs = ([own[part] for own in outputs] for part in (slice(len(seen.inputs)), slice(len(seen.inputs), None)))
        known = Trace.of(
            rehearsed,
            made.calibration,
            seen.labels if table.labels else None,
            already_softmax=made.already_softmax,
            groups=seen.groups if table.groups else None,
        )
        strategies = [fitted(row, known, made.calibration, registry, table.may_lose_pp) for row in table.rows]
        replayed = pipeline.replay_bundle(result.bundle, registry, wanted.trace, strategies, progress, labels=table.labels)
    goal = table.goals[CONDITIONS.index(condition)]
    entries = compared(table, replayed["replays"], goal)
    content = {
        "schema": 2,
        "table": number,
        "title": table.title,
        "condition": condition,
        "goal": goal,
        "device": result.summary["provenance"]["device"],
        "static": replayed["replays"][0]["static"],
        "rows": entries,
    }
    if table.labels:
        labels = np.concatenate([part.labels for part in judged])
        content["guarantee"] = split_at_random(outputs, labels, [level.relative_cost for level in made.calibration], registry)
    (folder / f"table{number}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    shown, draw = FIGURES[number]
    trace = registry.get("dataset", wanted.trace.dataset).load(wanted.trace.split, wanted.trace.options, HERE)
    draw(replayed["replays"], trace, folder / f"figure{shown}.svg")
    return content


def show(content: Mapping[str, Any]) -> None:
    table, goal = TABLES[content["table"]], content["goal"]
    wanted = "" if goal is None else f"; goal {goal[0]:g} at {goal[1]:g}"
    print(
        f"\nTable {content['table']}, {content['condition']}: {table.title}."
        f" Loss in points against the exact network (paper: {table.exact:.0%} right), relative cost."
    )
    print(f"{'':34}{'paper':>14}  {'ours':>30}  {'against a level of that cost':>28}  verdict on the paper{wanted}")
    for entry in content["rows"]:
        options = ", ".join(f"{key}={value}" for key, value in entry["options"].items())
        paper, ours, static = entry["paper"], entry["ours"], entry["against_static"]
        theirs = f"{paper['loss_pp']:g} at {paper['relative_cost']:.3f}" if paper else "-"
        mine = f"{ours['loss_pp']:.2f} [{ours['loss_low_pp']:.2f}, {ours['loss_high_pp']:.2f}] at {ours['relative_cost']:.3f}"
        level = f"{static['difference_pp']:+.2f} [{static['low_pp']:+.2f}, {static['high_pp']:+.2f}]"
        verdicts = "; ".join([entry["verdict"] or "-", *([] if entry["goal"] is None else [entry["goal"]])])
        print(f"{entry['strategy'] + ' ' + options:34}{theirs:>14}  {mine:>30}  {level:>28}  {verdicts}")
    if "guarantee" in content:
        print(promise(content, content["condition"]))


def write(out: Path) -> None:
    """Put what is in a folder of results into the documentation: the tables between the page's marks, the figures beside it."""
    begin, end = MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    contents = [json.loads(found.read_text(encoding="utf-8")) for found in sorted(out.glob("*/table*.json"))]
    PAGE.write_text(f"{before}{begin}\n{page(contents)}\n{end}{after}", encoding="utf-8")
    for content in contents:
        if content["condition"] == CALIBRATED:
            shown, _ = FIGURES[content["table"]]
            shutil.copy(out / TABLES[content["table"]].run / f"figure{shown}.svg", PAGE.parent / "pictures" / f"paper_figure{shown}.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=int, nargs="*", metavar="TABLE", help="4, 5, 6; all if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the results")
    parser.add_argument("--write", action="store_true", help="put what is in that folder into docs/paper.md")
    given = parser.parse_args()
    if unknown := set(given.tables) - set(TABLES):
        parser.error(f"there is no table {unknown.pop()} here; there are {', '.join(map(str, TABLES))}")
    registry = plugins.load()
    for number in given.tables or TABLES:
        for condition in CONDITIONS:
            show(reproduce(number, condition, given.out, registry))
    if given.write:
        write(given.out)


if __name__ == "__main__":
    main()
