"""``mobiprox devices``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode
from .base import as_json, load_plugins, main, number, or_dash, print_json, print_table

if TYPE_CHECKING:
    from ..plugins import Registry


@main.command()
@as_json
def devices(as_json: bool) -> ExitCode:
    """List what can run here and what measures energy here, and why something cannot.

    \b
    Example:
      mobiprox devices --json
    """
    import dataclasses

    registry = load_plugins()
    found = []
    for name in registry.names("backend"):
        try:
            found += [dataclasses.asdict(device) for device in registry.get("backend", name).devices()]
        except Exception as error:
            problem = registry.provider("backend", name).fault(f"failed to list its devices: {type(error).__name__}: {error}")
            found.append({"backend": name, "index": None, "name": None, "info": None, "problem": problem.what, "mend": problem.mend})
    usable = any(device["problem"] is None for device in found)
    meters = [_meter(name, registry) for name in registry.names("meter")]
    if as_json:
        print_json({"devices": found, "meters": meters})
    elif found:
        print_table(("backend", "index", "device", "state"), [_device_row(device) for device in found], left=True)
        for device in found:
            if device["mend"]:
                click.echo(f"\n{device['backend']} {or_dash(device['index'])}: {device['problem']}\n  {device['mend']}")
        if meters:
            click.echo()
        head = ("meter", "measures", "times a second", "state")
        print_table(head, [_meter_row(meter) for meter in meters], left=True)
        for meter in meters:
            if meter["problem"]:
                click.echo(f"\n{meter['name']}: {meter['problem']}")
    else:
        click.echo("no device: no backend that is installed found one; 'mobiprox plugins list' says what is installed")
    return ExitCode.DONE if usable else ExitCode.DEVICE


def _device_row(device: Mapping[str, Any]) -> tuple[str, ...]:
    info = device["info"]
    about = f"{info['runtime']}, {info['kind']}, {info['isa']}, {info['threads']} thread(s)" if info else ""
    state = f"ready ({about})" if about else "ready"
    return device["backend"], or_dash(device["index"]), or_dash(device["name"]), "cannot be used" if device["problem"] else state


def _meter(name: str, registry: Registry) -> dict[str, Any]:
    """What a meter can do for this machine; that of a phone is asked when the phone is opened."""
    meter = registry.get("meter", name)
    try:
        problem = meter.problem()
    except Exception as error:
        problem = registry.provider("meter", name).fault(f"failed: {type(error).__name__}: {error}").what
    return {"name": name, "quality": getattr(meter, "quality", None), "rate_hz": getattr(meter, "rate_hz", None), "problem": problem}


def _meter_row(meter: Mapping[str, Any]) -> tuple[str, ...]:
    state = "cannot measure here" if meter["problem"] else "ready"
    return meter["name"], or_dash(meter["quality"]), number(meter["rate_hz"], "g"), state
