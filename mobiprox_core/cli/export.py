"""``mobiprox export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from .base import load_plugins, main

FOLDER = click.Path(path_type=Path, file_okay=False)


class ForEveryExporter(click.Command):
    """A command with an option of its own for every exporter that is installed."""

    _options: list[click.Parameter] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if self._options is None:
            registry = load_plugins()
            offers = [registry.get("exporter", name) for name in registry.names("exporter")]
            self._options = [click.Option([f"--{offer.name}"], metavar="DIR", type=FOLDER, help=offer.summary + ".") for offer in offers]
        return [*self._options, *super().get_params(ctx)]


@main.command(cls=ForEveryExporter)
@click.argument("bundle", type=FOLDER)
def export(bundle: Path, **folders: Any) -> None:
    """Write BUNDLE for another platform, as each option of an installed exporter says.

    \b
    Example:
      mobiprox export runs/digits/bundle --android app
    """
    registry = load_plugins(warn=False)
    chosen = {name: folder for name, folder in folders.items() if folder is not None}
    if not chosen:
        known = registry.names("exporter")
        mend = (
            "say where: " + " or ".join(f"--{name} DIR" for name in known)
            if known
            else "pip install 'mobiprox[all]' brings those of this project"
        )
        raise UsageError("no exporter is chosen" if known else "no exporter is installed", mend=mend)
    for name, folder in chosen.items():
        registry.get("exporter", name).export(bundle, folder)
        click.echo(f"{name}: {folder}")
