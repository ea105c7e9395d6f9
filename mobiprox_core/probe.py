"""Loads one plugin in a process of its own and says what came of it: ``python -X importtime -m mobiprox_core.probe NAME``.

Prints a line of JSON that begins with MARK, and with ``devices`` as a second argument another one of what its backends find. Whatever
the plugin does (crash, exit, print, hang) happens here and not to `doctor`, which reads this.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from . import plugins, schema
from .errors import PluginError

MARK = "mobiprox-probe: "


def describe(name: str) -> dict[str, Any]:
    """What a plugin takes to load (milliseconds of processor time), what it offers, and what is wrong with it."""
    started = time.process_time()
    registry = plugins.load([name])
    load_ms = 1000 * (time.process_time() - started)
    plugin = next(plugin for plugin in registry.plugins if plugin.name == name)
    problem = plugin.problem
    for kind, names in plugin.offers.items():
        for offer in names if problem is None else ():
            try:
                schema.options_of(kind, offer, registry)
            except PluginError as error:
                problem = error
    return {
        "load_ms": round(load_ms, 1),
        "offers": {kind: list(names) for kind, names in plugin.offers.items()},
        "warnings": list(plugin.warnings),
        "problem": None if problem is None else {"what": problem.what, "mend": problem.mend},
    }


def devices(name: str) -> list[dict[str, Any]]:
    """What the plugin's backends and meters find here: kind, name, device (None for a meter), problem and mend."""
    registry = plugins.load([name])
    found: list[dict[str, Any]] = []
    for backend in registry.names("backend"):
        found += [
            {"kind": "backend", "name": backend, "device": report.name, "problem": report.problem, "mend": report.mend}
            for report in registry.get("backend", backend).devices()
        ]
    for meter in registry.names("meter"):
        found.append({"kind": "meter", "name": meter, "device": None, "problem": registry.get("meter", meter).problem(), "mend": None})
    return found


if __name__ == "__main__":
    import jsonschema_rs  # noqa: F401  # what core loads itself does not count as the plugin's

    print(MARK, file=sys.stderr, flush=True)
    print(MARK + json.dumps(describe(sys.argv[1])), flush=True)
    if "devices" in sys.argv[2:]:
        print(MARK + json.dumps(devices(sys.argv[1])), flush=True)
