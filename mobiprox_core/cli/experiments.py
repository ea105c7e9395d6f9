"""Commands on experiment files and folders of results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import ExitCode, ExperimentError
from .base import as_json, load_plugins, main, percent, print_json
from .levels import print_levels


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the results; runs/NAME if left out.")
@click.option("--resume", is_flag=True, help="Take up an interrupted run: finished stages are not done again.")
@as_json
def run(file: Path, out: Path | None, resume: bool, as_json: bool) -> ExitCode:
    """Profile, search and measure what FILE asks for.

    Leaves the levels, a bundle to run them, and report.html in the folder of the results.

    \b
    Example:
      mobiprox run examples/digits/experiment.yaml --out runs/digits
    """
    from .. import experiment, pipeline
    from ..progress import ProgressPrinter

    registry = load_plugins()
    wanted = experiment.load(file, registry)
    out = out or pipeline.default_folder(file)
    try:
        with ProgressPrinter() as progress:
            result = pipeline.run(wanted, registry, out, resume=resume, progress=progress).to_json()
    except KeyboardInterrupt:
        click.echo(f"interrupted; take it up again with: mobiprox run {file} --out {out} --resume", err=True)
        return ExitCode.INTERRUPTED
    if as_json:
        print_json(result)
        return ExitCode.DONE
    print_levels(result)
    if refused := result["refused"]:
        click.echo(f"\n{len(refused)} measured configuration(s) refused, such as one where {refused[0]}")
    if replay := result.get("replay"):
        right = (
            f"{percent(replay['accuracy'])} right"
            if replay["accuracy"] is not None
            else f"{percent(replay['agreement'])} as the exact network"
        )
        cost = f"{replay['relative_cost']:.0%} of the exact cost, mean level {replay['mean_level']:.2f}"
        click.echo(f"\nreplay of {replay['steps']} steps: {right} at {cost}")
    click.echo(f"\nreport: {out / 'report.html'}\nbundle: {out / 'bundle'}")
    return ExitCode.DONE


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Also load model and data, and see that they fit each other and the operators are supported.")
@as_json
def check(file: Path, deep: bool, as_json: bool) -> ExitCode:
    """Find every fault of FILE without running it.

    \b
    Example:
      mobiprox check examples/digits/experiment.yaml
    """
    from .. import experiment

    registry = load_plugins()
    try:
        wanted = experiment.load(file, registry)
        if deep:
            from .. import pipeline

            pipeline.check(wanted, registry)
    except ExperimentError as error:
        if not as_json:
            raise
        faults = [{"where": fault.where, "what": fault.what, "mend": fault.mend} for fault in error.faults]
        print_json({"valid": False, "faults": faults})
        return error.exit_code
    if as_json:
        print_json({"valid": True, "faults": [], "experiment": wanted.to_json(), "digest": wanted.digest, "plugins": registry.versions})
    else:
        names = ", ".join(technique.name for technique in wanted.techniques)
        click.echo(f"{file}: valid ({wanted.model.name}, {names}, {wanted.search.heuristic}, {wanted.backend.name})")
    return ExitCode.DONE


@main.command()
def schema() -> None:
    """Print the JSON Schema of the experiment file, for editors.

    The options of the installed plugins are in it.

    \b
    Example:
      mobiprox schema > experiment.schema.json
    """
    from .. import experiment

    click.echo(json.dumps(experiment.schema(load_plugins()), indent=2, ensure_ascii=False))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def report(folder: Path) -> None:
    """Write report.html anew from the results in FOLDER.

    \b
    Example:
      mobiprox report runs/digits
    """
    from ..results import write_report

    click.echo(f"report: {write_report(folder)}")
