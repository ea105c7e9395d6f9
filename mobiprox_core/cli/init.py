"""``mobiprox init``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import UsageError
from .base import load_plugins, main


@main.command("init")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="DATASET", help="A data set with options: '{dataset: NAME, option: value}'; one that fits is looked for if left out."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="experiment.yaml", show_default=True, help="Where to.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(model: Path, data: str | None, out: Path, force: bool) -> None:
    """Write an experiment for MODEL, the file of a trained network.

    The network is asked what it takes and gives; data, techniques, search and device are chosen among what is installed and fits it.

    \b
    Example:
      mobiprox init net.onnx
      mobiprox init net.onnx --data '{dataset: arrays, inputs: x.npy, labels: y.npy}'
    """
    from .. import document, experiment, initial

    if out.exists() and not force:
        raise UsageError(f"{out} exists already", mend="choose another with --out, or write over it with --force")
    registry = load_plugins()
    wanted = None
    if data is not None:
        wanted = document.parse(data if ":" in data else f"{{dataset: {data}}}", "--data")[0].value
        if not isinstance(wanted, dict) or wanted.get("dataset") not in registry.names("dataset"):
            raise UsageError(
                f"'{data}' names no data set", where="--data", mend=f"installed: {', '.join(registry.names('dataset')) or 'none'}"
            )
    made = initial.initial(model, registry, out.parent, wanted)
    out.write_text(made.text, encoding="utf-8")
    schema = out.parent / initial.SCHEMA_FILE
    schema.write_text(json.dumps(experiment.schema(registry), indent=1, ensure_ascii=False), encoding="utf-8")
    for note in made.notes:
        click.echo(note)
    click.echo(f"\nwritten: {out}, and {schema} for editors")
    click.echo(f"next:    mobiprox {'run' if made.complete else 'check'} {out}")
