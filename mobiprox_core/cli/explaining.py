"""``mobiprox explain``."""

from __future__ import annotations

from pathlib import Path

import click

from .base import as_json, load_plugins, main, print_json


@main.command()
@click.argument("configuration")
@click.option("--level", type=click.IntRange(0), help="Of a bundle; all of them if left out.")
@click.option(
    "--profile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The profile.json to take effects from; the bundle's own if left out.",
)
@as_json
def explain(configuration: str, level: int | None, profile: Path | None, as_json: bool) -> None:
    """Say what CONFIGURATION does, in sentences, with the measured effect of each setting.

    CONFIGURATION is a bundle or a folder of results, a JSON file of settings, or text.

    \b
    Example:
      mobiprox explain runs/digits --level 3
      mobiprox explain 'conv3_2: perforation(axis=rows, offset=1, stride=2)' --profile runs/digits/profile.json
    """
    from .. import explain as explaining

    chosen, beside = explaining.configurations(configuration, level)
    effects = explaining.read_profile(profile) if profile is not None else beside
    registry = load_plugins()
    told = {title: explaining.explain(one, registry, effects) for title, one in chosen.items()}
    if as_json:
        print_json({"configurations": {title: [operator.to_json() for operator in operators] for title, operators in told.items()}})
        return
    for index, (title, operators) in enumerate(told.items()):
        if len(told) > 1 or level is not None:
            click.echo("\n" * (index > 0) + title)
        if not operators:
            click.echo("every operator runs exactly")
        for operator in operators:
            for sentence in operator.sentences:
                click.echo(sentence)
            for setting, effect in operator.effects.items():
                alone = "" if setting == operator.setting else f"{setting} alone: "
                click.echo(f"    {alone}{effect}")
            if effects is not None and not operator.effects:
                click.echo("    not measured")
