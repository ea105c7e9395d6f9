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

    _params: list[click.Parameter]
    _is_complete = False

    @property
    def params(self) -> list[click.Parameter]:
        """Plugins are loaded when somebody wants to know, not when this module is imported."""
        if not self._is_complete:
            self._is_complete = True
            registry = load_plugins()
            offers = [registry.get("exporter", name) for name in registry.names("exporter")]
            self._params[:0] = [click.Option([f"--{o.name}"], metavar="DIR", type=FOLDER, help=f"{o.summary}.") for o in offers]
        return self._params

    @params.setter
    def params(self, params: list[click.Parameter]) -> None:
        self._params = params


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
        remarks = registry.get("exporter", name).export(bundle, folder)
        click.echo(f"{name}: {folder}")
        for remark in remarks:
            click.echo(f"note: {remark}", err=True)
