"""``mobiprox plugins``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, PluginError
from .base import as_json, load_plugins, main, print_json, print_table

if TYPE_CHECKING:
    from ..plugins import Plugin, Registry


@main.group()
def plugins() -> None:
    """What is installed, what it offers, and how to make your own.

    \b
    Example:
      mobiprox plugins list
    """


@plugins.command("list")
@as_json
def plugins_list(as_json: bool) -> None:
    """List the plugins and what they offer, without loading any.

    What is offered is what the name of a plugin promises; 'mobiprox plugins info NAME' looks inside, 'mobiprox plugins doctor' finds
    those that are broken.

    \b
    Example:
      mobiprox plugins list --json
    """
    from ..plugins import survey

    found = survey()
    if as_json:
        print_json({"plugins": [_about(plugin) for plugin in found]})
        return
    rows = []
    for plugin in found:
        offers = ", ".join(f"{kind} {name}" for kind, names in plugin.offers.items() for name in names)
        rows.append((plugin.name, plugin.version, offers or "-", plugin.distribution))
    if not rows:
        click.echo("no plugin is installed; for all of this project: pip install 'mobiprox[all]'")
    print_table(("plugin", "version", "offers", "distribution"), rows, left=True)
    for problem in dict.fromkeys(str(plugin.problem) for plugin in found if plugin.problem is not None):
        click.echo(f"warning: {problem}", err=True)


@plugins.command("info")
@click.argument("name")
@as_json
def plugins_info(name: str, as_json: bool) -> None:
    """Show what the plugin NAME, or what is offered under NAME, is and which options it has.

    \b
    Example:
      mobiprox plugins info perforation
    """
    registry = load_plugins(warn=False)
    found = [plugin for plugin in registry.plugins if name in (plugin.name, plugin.distribution, *_offered_names(plugin))]
    if not found:
        from ..plugins import did_you_mean

        known = sorted({word for plugin in registry.plugins for word in (plugin.name, *_offered_names(plugin))})
        likely = did_you_mean(name, known)
        mend = f"did you mean '{likely}'?" if likely else f"installed: {', '.join(known) or 'none'}"
        raise PluginError(f"no plugin is called or offers '{name}'", mend=mend)
    about = [_about(plugin) | _inside(plugin, registry) for plugin in found]
    if as_json:
        print_json({"plugins": about})
        return
    for index, plugin in enumerate(about):
        click.echo("\n" * (index > 0) + f"{plugin['name']} {plugin['version']} ({plugin['distribution']})")
        if plugin["summary"]:
            click.echo(plugin["summary"])
        click.echo()
        spoken = ", ".join(map(str, plugin["interfaces"])) or "not said"
        hooks = ", ".join(f"{hook['name']} (since {hook['since']})" for hook in plugin["hooks"])
        rows = [("interface", spoken), ("hooks", hooks or "-"), ("needs", ", ".join(plugin["needs"]) or "-")]
        rows += [("deprecated", warning) for warning in plugin["warnings"]]
        if plugin["problem"]:
            rows += [("broken", plugin["problem"]["what"]), ("", plugin["problem"]["mend"] or "")]
        _print_described(None, rows)
        for offer in plugin["offers"]:
            click.echo(f"\n{offer['kind']} {offer['name']}: {offer['summary']}")
            options = [
                (key, _type(option), _default(option, key in offer["required"]), option.get("description", ""))
                for key, option in offer["options"].items()
            ]
            _print_described(("option", "type", "default", "meaning"), options)
            if options and offer["knobs"]:
                click.echo()
            _print_described(("knob", "meaning"), list(offer["knobs"].items()))


@plugins.command("doctor")
@as_json
def plugins_doctor(as_json: bool) -> ExitCode:
    """Find what is wrong with the plugins, and say how to mend it.

    Loads every plugin in a process of its own. Finds broken plugins, slow importers, requirements that are not met, names that two
    plugins have, and backends without a device. Exits with 4 if anything is wrong; notes do not count.

    \b
    Example:
      mobiprox plugins doctor
    """
    from .. import doctor
    from ..plugins import survey

    installed = survey()
    findings, probes = doctor.examine(installed)
    errors = [finding for finding in findings if finding.grade == "error"]
    if as_json:
        described = {name: probe.described for name, probe in probes.items()}
        print_json(
            {
                "findings": [{"grade": f.grade, "plugin": f.plugin, "what": f.what, "mend": f.mend} for f in findings],
                "load_ms": {name: told["load_ms"] for name, told in described.items() if told is not None},
            }
        )
    else:
        for finding in findings:
            click.echo(f"{finding.grade}: {finding.what}")
            if finding.mend:
                click.echo(f"  {finding.mend}")
        notes = len(findings) - len(errors)
        counted = [f"{len(errors)} thing{'s' * (len(errors) != 1)} to mend" if errors else "nothing to mend"]
        counted += [f"{notes} note{'s' * (notes != 1)}"] if notes else []
        click.echo("\n" * bool(findings) + f"{len(installed)} plugin{'s' * (len(installed) != 1)} examined: {', '.join(counted)}")
    return ExitCode.PLUGIN if errors else ExitCode.DONE


@plugins.command("new")
@click.argument("kind")
@click.argument("name")
@click.option(
    "--in", "parent", type=click.Path(path_type=Path, file_okay=False), default=".", help="Where to; the current folder if left out."
)
def plugins_new(kind: str, name: str, parent: Path) -> None:
    """Write a new plugin of some KIND that offers NAME: package, tests, README, continuous integration.

    Its tests pass as it is; change it from there. Kinds: frontend, dataset, qos, technique, heuristic, backend, strategy, meter, exporter, executor.

    \b
    Example:
      mobiprox plugins new technique low_rank
    """
    from .. import scaffold

    folder = scaffold.create(kind, name, parent)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        click.echo(path)
    click.echo(
        f"\ninstall it:   pip install -e {folder}\ntest it:      mobiprox plugins test {folder}\nlook at it:   mobiprox plugins info {name}"
    )


@plugins.command("test", context_settings={"ignore_unknown_options": True})
@click.argument("plugin")
@click.option("--options", metavar="YAML", help="Options to test it with: '{path: net.onnx}'; needed where some are required.")
@click.argument("pytest", nargs=-1, type=click.UNPROCESSED)
def plugins_test(plugin: str, options: str | None, pytest: tuple[str, ...]) -> ExitCode:
    """Run the contract of its kind on PLUGIN: the folder of a distribution, or the name of an installed one.

    Of a folder a wheel is built and installed aside, so that what is tested is what users get; its own tests run too. What follows is
    handed to pytest.

    \b
    Example:
      mobiprox plugins test mobiprox-approx-low-rank -k kernels
    """
    from ..testing import running

    return ExitCode.DONE if running.run(plugin, options, pytest) else ExitCode.PLUGIN


def _offered_names(plugin: Plugin) -> list[str]:
    return [name for names in plugin.offers.values() for name in names]


def _about(plugin: Plugin) -> dict[str, Any]:
    """What metadata says."""
    problem = plugin.problem
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "summary": plugin.summary,
        "interfaces": list(plugin.interfaces),
        "needs": list(plugin.needs),
        "offers": [{"kind": kind, "name": name} for kind, names in plugin.offers.items() for name in names],
        "problem": None if problem is None else {"what": problem.what, "mend": problem.mend},
    }


def _inside(plugin: Plugin, registry: Registry) -> dict[str, Any]:
    """What only the loaded plugin knows."""
    from .. import hookspecs

    offers = []
    for kind, names in plugin.offers.items():
        for name in names:
            if name in registry.names(kind):
                offer = registry.get(kind, name)
                options = offer.options
                entry = {"kind": kind, "name": name, "summary": offer.summary, "options": dict(options.get("properties", {}))}
                offers.append({**entry, "required": list(options.get("required", ())), "knobs": dict(getattr(offer, "knobs", {}))})
    hooks = [{"name": hook, "since": getattr(getattr(hookspecs, hook, None), "since", None)} for hook in plugin.hooks]
    return {"offers": offers, "hooks": hooks, "warnings": list(plugin.warnings)}


def _print_described(head: tuple[str, ...] | None, rows: Sequence[tuple[str, ...]]) -> None:
    """A table whose last column is wrapped to the width of the terminal."""
    import shutil
    import textwrap

    if not rows:
        return
    table = [*([head] if head else []), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
    indent = sum(widths) + 2 * len(widths)
    room = max(30, shutil.get_terminal_size((120, 24)).columns - indent)
    for row in table:
        first, *more = textwrap.wrap(row[-1], room) or [""]
        cells = "".join(cell.ljust(width) + "  " for cell, width in zip(row, widths, strict=False))
        click.echo((cells + first).rstrip())
        for line in more:
            click.echo(" " * indent + line)


def _type(option: Mapping[str, Any]) -> str:
    """The type of an option's values in a word or two."""
    if "enum" in option:
        return " | ".join(map(str, option["enum"]))
    if branches := option.get("oneOf") or option.get("anyOf"):
        return " | ".join(dict.fromkeys(_type(branch) for branch in branches))
    if "const" in option:
        return str(option["const"])
    kind = option.get("type", "")
    if option.get("format") == "path":
        return "path"
    if kind == "array" and (of := _type(option.get("items", {}))):
        return f"list of {of}"
    return kind if isinstance(kind, str) else " | ".join(kind)


def _default(option: Mapping[str, Any], required: bool) -> str:
    return "required" if required else json.dumps(option["default"]) if "default" in option else ""
