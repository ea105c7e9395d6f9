"""Commands that read and write configuration files of HPVM and ApproxTuner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DataError, UsageError
from .base import load_plugins, main, print_json

if TYPE_CHECKING:
    from ..configuration import Setting
    from ..graph import Graph
    from ..plugins import Registry

_model = click.option("--model", type=click.Path(path_type=Path), required=True, help="The network that the configurations are of.")
_out = click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead.")


@main.command("import-hpvm")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_model
@_out
def import_hpvm(file: Path, model: Path, out: Path | None) -> None:
    """Read FILE, configurations of HPVM or ApproxTuner, as settings of a network.

    The JSON has, for every configuration, its figures and nodes as they stand in the file, and `settings`: operator -> setting, as
    `open_model` and `bench --set` take them. Knobs of operations without weights have no counterpart and are left out of `settings`.

    \b
    Example:
      mobiprox import-hpvm confs.txt --model net.onnx --out confs.json
    """
    from .. import hpvm

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(file), mend="give a text file") from error
    graph, meaning = _network(model, load_plugins())
    content = hpvm.parse(text, str(file))
    value = hpvm.to_json(content, [hpvm.configuration(block, graph, meaning, str(file)) for block in content.blocks])
    if out is None:
        print_json(value)
    else:
        out.write_text(json.dumps({"schema": 1, **value}, indent=1), encoding="utf-8")
        click.echo(f"{len(content.blocks)} configurations of {graph.name} in {out}")


@main.command("export-hpvm")
@click.argument("source", type=click.Path(path_type=Path))
@_model
@_out
def export_hpvm(source: Path, model: Path, out: Path | None) -> None:
    """Write SOURCE as a configuration file of HPVM: a bundle, or what `import-hpvm` wrote (the very same file again).

    HPVM knows the paper's settings only. Levels that were calibrated have no id there: tune with 'refit: off' and 'recalibrate: off'.

    \b
    Example:
      mobiprox export-hpvm runs/digits/bundle --model net.onnx --out confs.txt
    """
    from .. import bundle, exchange, hpvm

    if source.is_dir():
        graph, meaning = _network(model, load_plugins())
        content = bundle.read(source)
        numbers = exchange.numbers(meaning)
        exact = content.points[0]
        blocks = tuple(
            hpvm.Block(f"conf{level}", hpvm.figures(point, exact, known), hpvm.nodes(point.configuration, graph, numbers))
            for level, (point, known) in enumerate(zip(content.points, content.calibration, strict=True))
        )
        file = hpvm.File(repr(exact.latency_ms), blocks)
    else:
        try:
            value = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read: {error}", where=str(source), mend="give a bundle, or what import-hpvm wrote") from error
        file = hpvm.from_json(value, str(source))
    if out is None:
        click.echo(hpvm.write(file), nl=False)
    else:
        out.write_text(hpvm.write(file), encoding="utf-8")
        click.echo(f"{len(file.blocks)} configurations in {out}")


def _network(model: Path, registry: Registry) -> tuple[Graph, Mapping[int, Setting]]:
    """The network, and what ids mean to the installed techniques."""
    from .. import exchange
    from ..bench.comparison import read_network

    techniques = [registry.get("technique", name) for name in registry.names("technique")]
    return read_network(model, registry).at_batch(1), exchange.ids(techniques)
