"""Commands on bundles."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import TargetMissed
from .base import as_json, load_plugins, main, number, percent, print_json, print_table
from .levels import print_levels


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option("--backend", metavar="NAME", help="A backend, as NAME or '{NAME: {option: value}}'; that of the bundle if left out.")
@as_json
def measure(bundle: Path, backend: str | None, as_json: bool) -> None:
    """Measure every level of BUNDLE again, on the device at hand.

    \b
    Example:
      mobiprox measure runs/digits/bundle --backend '{opencl: {device: 0}}'
    """
    from .. import experiment, pipeline
    from ..progress import ProgressPrinter

    registry = load_plugins()
    chosen = experiment.choose("backend", backend, registry, "--backend") if backend else None
    with ProgressPrinter() as progress:
        result = pipeline.measure_bundle(bundle, registry, backend=chosen, progress=progress)
    if as_json:
        print_json(result)
    else:
        print_levels(result)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--trace", required=True, metavar="DATASET:SPLIT", help="What to replay; with options: '{dataset: NAME, split: NAME, option: value}'."
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME",
    help="A strategy, as NAME or '{NAME: {option: value}}'; that of the bundle if left out. Several are compared.",
)
@click.option(
    "--costs", metavar="COSTS", default="latency", show_default=True, help="Of the levels: latency, energy, or numbers: 1,0.86,0.84."
)
@click.option(
    "--sweep",
    "swept",
    multiple=True,
    metavar="OPTION=VALUES",
    help="Try every combination of these values of the strategy's options: low=0.3,0.5.",
)
@click.option(
    "--max-loss",
    "max_loss_pp",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Of a sweep, choose the cheapest combination that loses at most so many percentage points, at the upper end of the interval.",
)
@click.option("--unlabelled", is_flag=True, help="Leave the labels of the trace aside: agreement with the exact network counts.")
@as_json
def replay(
    bundle: Path,
    trace: str,
    strategies: tuple[str, ...],
    costs: str,
    swept: tuple[str, ...],
    max_loss_pp: float | None,
    unlabelled: bool,
    as_json: bool,
) -> None:
    """Replay a recorded trace with a strategy over the levels of BUNDLE.

    Accuracy is compared with the exact network's, and with that of the best single level that costs no more. Differences come with a
    95 % interval over users, speakers, ... where the data know them. Where no combination of a sweep loses as little as --max-loss allows,
    the exit code is 7.

    \b
    Example:
      mobiprox replay runs/digits/bundle --trace digits:stream --strategy state
      mobiprox replay runs/digits/bundle --trace digits:stream --strategy state --sweep memory=2,3,5 --sweep votes=1,2
      mobiprox replay runs/digits/bundle --trace digits:stream --strategy cascade --sweep threshold=0,0.5,0.9 --max-loss 2
    """
    from .. import experiment, pipeline
    from ..progress import ProgressPrinter

    registry = load_plugins()
    data = experiment.choose_data(trace, registry, "--trace")
    chosen = [experiment.choose("strategy", strategy, registry, "--strategy") for strategy in strategies]
    grid = experiment.choose_grid(swept, "--sweep")
    with ProgressPrinter() as progress:
        paid = experiment.choose_costs(costs)
        result = pipeline.replay_bundle(bundle, registry, data, chosen, progress, paid, grid, not unlabelled, max_loss_pp)
    if as_json:
        print_json(result)
    elif "sweep" in result:
        _print_sweep(result)
    else:
        _print_replays(result.get("replays") or [result])
    if "chosen" in result and result["chosen"] is None:
        least = min(point["loss_upper_pp"] for point in result["sweep"])
        raise TargetMissed(
            f"no combination loses at most {max_loss_pp:g} points for sure; the surest loses up to {least:.2f}",
            where="--max-loss",
            mend="allow more, offer milder combinations, or replay a longer trace",
        )


def _print_replays(walks: Sequence[Mapping[str, Any]]) -> None:
    """A line for each strategy, and one for the exact network."""
    head = ["strategy", "accuracy", "agreement", "relative cost", "pp against exact", "pp against the best level of that cost"]
    exact = walks[0]["static"][0]
    rows = [["exact", percent(exact["accuracy"]), percent(exact["agreement"]), number(exact["relative_cost"], ".3f"), "", ""]]
    rows += [
        [
            walk["strategy"],
            percent(walk["accuracy"]),
            percent(walk["agreement"]),
            number(walk["relative_cost"], ".3f"),
            _interval(walk["against_exact"]),
            f"{_interval(walk['against_static'])} level {walk['best_static']['level']}",
        ]
        for walk in walks
    ]
    if len(walks) > 1:
        head.append("pp against the first")
        for row, cell in zip(rows, ["", "", *(_interval(walk["against_first"]) for walk in walks[1:])], strict=True):
            row.append(cell)
    print_table(head, rows)
    units = walks[0]["against_exact"]["units"]
    click.echo(f"\n{walks[0]['steps']} steps; intervals are 95 %, over {units} {'samples' if units == walks[0]['steps'] else 'groups'}")


def _print_sweep(result: Mapping[str, Any]) -> None:
    """The combinations on the front; how many there were in all."""
    front = [point for point in result["sweep"] if point["on_front"]]
    names = list(front[0]["options"])
    rows = [
        (
            *(json.dumps(point["options"][name]) for name in names),
            percent(point["accuracy"]),
            percent(point["agreement"]),
            number(point["relative_cost"], ".3f"),
            _interval(point["against_exact"]),
            _interval(point["against_static"]),
        )
        for point in front
    ]
    print_table((*names, "accuracy", "agreement", "relative cost", "pp against exact", "pp against the best level of that cost"), rows)
    click.echo(f"\n{len(front)} of {len(result['sweep'])} combinations are on the front of cost against accuracy")
    if chosen := result.get("chosen"):
        click.echo(
            f"the cheapest that loses at most {result['max_loss_pp']:g} points: --strategy '{json.dumps({result['strategy']: chosen['options']})}'"
            f"\n  it costs {chosen['relative_cost']:.3f} and loses at most {chosen['loss_upper_pp']:.2f} points; replay another stream to see whether it does"
        )


def _interval(paired: Mapping[str, Any]) -> str:
    return f"{paired['difference_pp']:+.2f} [{paired['low_pp']:+.2f}, {paired['high_pp']:+.2f}]"


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--source", required=True, metavar="[DATASET:]FILE", help="A .npy file, - (float32 numbers), or raw signals that a data set prepares."
)
@click.option("--strategy", metavar="NAME", help="A strategy, as NAME or '{NAME: {option: value}}'; that of the bundle if left out.")
@click.option(
    "--period", "period_s", type=click.FloatRange(0, min_open=True), help="Seconds from input to input, of a source that does not know."
)
@click.option("--fast", is_flag=True, help="Do not wait for the time of each input.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many inputs.")
@as_json
def live(bundle: Path, source: str, strategy: str | None, period_s: float | None, fast: bool, limit: int | None, as_json: bool) -> None:
    """Run BUNDLE on a stream, and show label, confidence, level and savings as it goes.

    A recording plays at its own pace. Inputs that are answered late are counted, never dropped. Battery, temperature and hour of this
    machine are told to the strategy.

    \b
    Example:
      mobiprox live runs/keywords/bundle --source keywords:talk.wav
      mobiprox live runs/har/bundle --source har:walk.csv --fast
    """
    import itertools
    from contextlib import ExitStack

    from .. import experiment
    from .. import live as lives
    from ..errors import DataError
    from ..session import Session

    registry = load_plugins()
    chosen = experiment.choose("strategy", strategy, registry, "--strategy") if strategy else None
    wanted = lives.Source.parse(source)
    prepare = None
    if wanted.dataset is not None and (prepare := getattr(registry.get("dataset", wanted.dataset), "stream", None)) is None:
        raise DataError(f"the data set '{wanted.dataset}' prepares no signals", where="--source", mend="give a .npy file")
    with ExitStack() as opened:
        try:
            file = sys.stdin.buffer if wanted.path == "-" else opened.enter_context(open(wanted.path, "rb"))
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=f"--source: {wanted.path}") from error
        session = opened.enter_context(Session.open(bundle, registry=registry, strategy=chosen))
        click.echo(session.program, err=True)
        stream: Iterable[tuple[float, Any]]
        stream = lives.arrays(file, session.bundle.plan.inputs[0].shape[1:], period_s or 0.0) if prepare is None else prepare(file)
        paced = not fast and (wanted.dataset is not None or period_s is not None)
        summary = lives.Summary()
        answers = []
        for answer in lives.live(session, itertools.islice(stream, limit), lives.surroundings, paced):
            drifts = session.heartbeat.drifts[summary.drifts :]
            summary = summary.after(answer, len(drifts))
            if as_json:
                answers.append(answer.to_json())
                continue
            for drift in drifts:
                click.echo(f"drift: {drift}", err=True)
            prediction = answer.prediction
            name = session.classes[prediction.label] if session.classes else str(prediction.label)
            late = f"  late by {answer.delay_s:.2f} s" if answer.late else ""
            click.echo(
                f"{answer.time_s:8.2f} s  {name:<20} {prediction.confidence:4.0%}  level {prediction.level}  saved {summary.saved:4.0%}{late}"
            )
    if as_json:
        print_json({"summary": summary.to_json(), "answers": answers})
    else:
        click.echo(f"\n{summary}")
