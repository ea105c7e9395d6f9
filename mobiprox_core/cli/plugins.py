"""``mobiprox plugins``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import PluginError
from .base import as_json, load_plugins, main, print_json, print_table

if TYPE_CHECKING:
    from ..plugins import Plugin, Registry


@main.group()
def plugins() -> None:
    """What is installed, and what it offers.

    \b
    Example:
      mobiprox plugins list
    """


@plugins.command("list")
@as_json
def plugins_list(as_json: bool) -> None:
    """List the plugins, what they offer, and which are broken.

    \b
    Example:
      mobiprox plugins list --json
    """
    registry = load_plugins(warn=False)
    if as_json:
        print_json({"plugins": [_plugin_json(plugin, registry) for plugin in registry.plugins]})
        return
    rows = []
    for plugin in registry.plugins:
        offers = "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.offers.items())
        rows.append((plugin.name, plugin.version, plugin.distribution, offers or ("broken" if plugin.problem else "observes")))
    if not rows:
        click.echo("no plugin is installed; for all of this project: pip install 'mobiprox[all]'")
    print_table(("plugin", "version", "distribution", "offers"), rows, left=True)
    for problem in registry.problems:
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
    if as_json:
        print_json({"plugins": [_plugin_json(plugin, registry) for plugin in found]})
        return
    for plugin in found:
        click.echo(f"{plugin.name} {plugin.version} ({plugin.distribution})")
        if plugin.problem:
            click.echo(f"broken: {plugin.problem}")
        for offer in _plugin_json(plugin, registry)["offers"]:
            click.echo(f"\n{offer['kind']} {offer['name']}: {offer['summary']}")
            rows = [(key, _type(option), _default(option), option.get("description", "")) for key, option in offer["options"].items()]
            rows += [(f"knob {knob}", "", "", meaning) for knob, meaning in offer["knobs"].items()]
            if rows:
                print_table(("option", "type", "default", "meaning"), rows, left=True)


def _offered_names(plugin: Plugin) -> list[str]:
    return [name for names in plugin.offers.values() for name in names]


def _plugin_json(plugin: Plugin, registry: Registry) -> dict[str, Any]:
    problem = plugin.problem
    offers = []
    for kind, names in plugin.offers.items():
        for name in names:
            if name in registry.names(kind):
                offer = registry.get(kind, name)
                options = offer.options
                entry = {"kind": kind, "name": name, "summary": offer.summary, "options": dict(options.get("properties", {}))}
                offers.append({**entry, "required": list(options.get("required", ())), "knobs": dict(getattr(offer, "knobs", {}))})
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "offers": offers,
        "problem": None if problem is None else {"what": problem.what, "mend": problem.mend},
    }


def _type(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return " | ".join(map(str, option["enum"]))
    kind = option.get("type", "")
    return "path" if option.get("format") == "path" else kind if isinstance(kind, str) else " | ".join(kind)


def _default(option: Mapping[str, Any]) -> str:
    return json.dumps(option["default"]) if "default" in option else ""
