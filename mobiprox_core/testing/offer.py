"""What everything offered owes: a name, a summary, a valid schema of its options, and modules that load quickly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from mobiprox_core.interfaces import Offer, Options

HEAVY = ("numpy", "torch", "onnx", "onnx_ir", "pyopencl", "scipy", "sklearn")
"""Packages that only a method may import: `mobiprox plugins list` must stay fast."""


def check_description(offer: Offer, options: Options) -> None:
    """Name, summary and options are as the command line and the experiment file need them, and `options` fit."""
    assert offer.name.isidentifier(), f"'{offer.name}' cannot stand in an experiment file"
    assert offer.summary.strip(), "the summary is empty"
    assert "\n" not in offer.summary, "the summary is one line"
    schema = plain(offer.options)
    assert schema.get("type") == "object", "options are the schema of an object"
    jsonschema_rs.meta.validate(schema)
    for key, option in schema.get("properties", {}).items():
        assert option.get("description"), f"option '{key}' has no description"
        assert typed(option), f"option '{key}' has no type"
        if "default" in option:
            jsonschema_rs.validate(option, option["default"])
    assert set(schema.get("required", ())) <= set(schema.get("properties", {})), "what is required is no option"
    jsonschema_rs.validate(schema | {"additionalProperties": False}, plain(options))


def typed(option: Mapping[str, Any]) -> bool:
    """Whether a schema says what its values are."""
    branches = (*option.get("anyOf", ()), *option.get("oneOf", ()))
    return bool({"type", "enum", "const"} & option.keys()) or (bool(branches) and all(map(typed, branches)))


def path_options(offer: Offer, options: Options) -> list[str]:
    """The options given that are files or folders."""
    properties = offer.options.get("properties", {})
    return [key for key in options if properties.get(key, {}).get("format") == "path"]


def check_loads_lightly(offer: Offer) -> None:
    """Importing the module of the offered class imports nothing heavy."""
    module = type(offer).__module__
    program = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert loaded.returncode == 0, loaded.stderr
    assert not loaded.stdout.strip(), f"importing {module} imports {loaded.stdout.strip()}: do so inside the methods that need it"


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """A read-only mapping, and those within it, as dictionaries."""
    return {key: plain(item) if isinstance(item, Mapping) else item for key, item in value.items()}
