"""The schema of the experiment file, assembled from core and the installed plugins, and its faults in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from .document import KeyPath
from .errors import PluginError
from .plugins import KINDS, Registry, did_you_mean

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

    from .interfaces import Offer

SCHEMA_NUMBER = 1
"""What the key `mobiprox` of an experiment file must say."""

DEFAULT_LEVELS = 10
DEFAULT_CONFIDENCE = 0.95
DEFAULT_QOS = "accuracy"
"""The measure of a network that classifies, on data with labels."""
DEFAULT_UNLABELLED_QOS = "agreement"

COSTS = ("latency", "energy", "size")
"""What a search can make small, and limit."""

Schema = dict[str, Any]

_KIND = "x-mobiprox-kind"
"""Annotation of a schema whose failure means: no plugin of this kind has that name."""


_SPLIT = "which part of the data set"


RESERVED: Mapping[str, frozenset[str]] = {
    "frontend": frozenset({"frontend"}),
    "dataset": frozenset({"dataset", "split"}),
    "heuristic": frozenset(
        {"heuristic", "max_loss_pp", "max_loss", "max_part_loss", "confidence", "max_latency_ms", "max_energy_mj", "max_size_mb"}
        | {"minimize", "weights", "levels", "include", "exclude", "recalibrate"}
    ),
}
"""Keys that stand beside a plugin's own options."""


def experiment_schema(registry: Registry, mentioned: Container[str] | None = None) -> Schema:
    """JSON Schema (2020-12) of an experiment file with these plugins.

    mentioned: the names that a file has anywhere; the options of other plugins may be left out (checking dozens takes its time).
    """
    patterns = {"type": "array", "items": {"type": "string", "minLength": 1}}
    above = {"type": "number", "exclusiveMinimum": 0}
    search = {
        "max_loss_pp": {**above, "maximum": 100, "default": 5.0, "description": "what may be lost, in percentage points"},
        "max_loss": {**above, "description": "what may be lost, in the unit of the measure (qos); instead of max_loss_pp"},
        "max_part_loss": {**above, "description": "what any class or group alone may lose; three times as much as all if left out"},
        "confidence": {
            "type": "number",
            "minimum": 0.5,
            "exclusiveMaximum": 1,
            "default": DEFAULT_CONFIDENCE,
            "description": "how sure it must be that other data lose no more; 0.5 takes measured losses at their word",
        },
        "max_latency_ms": {**above, "description": "what one inference may take"},
        "max_energy_mj": {**above, "description": "what one inference may consume"},
        "max_size_mb": {**above, "description": "what weights and tables of one level may take, 10^6 bytes"},
        "minimize": {"enum": list(COSTS), "default": COSTS[0], "description": "what levels are to save"},
        "weights": {
            "type": "object",
            "properties": {cost: {"type": "number", "minimum": 0, "description": f"how much {cost} counts"} for cost in COSTS},
            "additionalProperties": False,
            "minProperties": 1,
            "description": "several costs at once, each relative to the exact network's, by their weights; instead of minimize",
        },
        "levels": {
            "type": "integer",
            "minimum": 1,
            "default": DEFAULT_LEVELS,
            "description": "how many levels to ship, the exact one included",
        },
        "include": {**patterns, "description": "approximate only operators whose names match one of these patterns, such as 'conv*'"},
        "exclude": {**patterns, "description": "leave operators exact whose names match one of these patterns"},
        "recalibrate": {
            "enum": ["affine", "full", "off", False],  # YAML reads a bare off as false
            "description": "correct every level against the exact network's outputs on calibration inputs: a scale and a bias per channel, or "
            "all weights; affine where there are calibration inputs, if left out",
        },
    }
    data = {"$ref": "#/$defs/data"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mobiprox experiment",
        "type": "object",
        "properties": {
            "mobiprox": {"const": SCHEMA_NUMBER, "description": "schema number of this file"},
            "model": _inline("frontend", "frontend", {}, [], registry, mentioned),
            "data": {
                "type": "object",
                "properties": {
                    "tune": {**data, "description": "labelled data that the search may look at"},
                    "test": {**data, "description": "labelled data that the search never sees"},
                    "calibrate": {**data, "description": "unlabelled data for calibration; the tuning data if left out"},
                },
                "required": ["tune", "test"],
                "additionalProperties": False,
                "description": "where tuning and test data come from",
            },
            "techniques": {
                "type": "array",
                "items": _named("technique", registry, mentioned),
                "minItems": 1,
                "description": "the approximations to choose from",
            },
            "search": _inline("heuristic", "heuristic", search, [], registry, mentioned),
            "qos": _named("qos", registry, mentioned),
            "backend": _named("backend", registry, mentioned),
            "strategy": _named("strategy", registry, mentioned),
            "temperature": {
                "enum": ["level", "network"],
                "default": "level",
                "description": "confidences are scaled by a temperature fitted to each level, or (as the paper does) by one of all levels",
            },
            "trace": {**data, "description": "a stream that is replayed with the strategy"},
            "energy": _named("meter", registry, mentioned),
            "executor": _named("executor", registry, mentioned),
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "of everything random"},
        },
        "required": ["mobiprox", "model", "data", "techniques", "search", "backend"],
        "additionalProperties": False,
        "$defs": {"data": _data(registry, mentioned)},
    }


def choice_schema(kind: str, registry: Registry, mentioned: Container[str] | None = None) -> Schema:
    """Schema of ``NAME`` or ``{NAME: options}`` alone; of ``{dataset: NAME, split: NAME, ...}`` for data sets."""
    return _data(registry, mentioned) if kind == "dataset" else _named(kind, registry, mentioned)


def _data(registry: Registry, mentioned: Container[str] | None) -> Schema:
    return _inline(
        "dataset", "dataset", {"split": {"type": "string", "minLength": 1, "description": _SPLIT}}, ["split"], registry, mentioned
    )


def options_of(kind: str, name: str, registry: Registry) -> Schema:
    """A plugin's own schema, closed. Raises PluginError where it is none, or has a key that core has."""
    from jsonschema_rs import ReferencingError

    offer: Offer = registry.get(kind, name)
    options = {"properties": {}, "description": offer.summary, **offer.options, "type": "object", "additionalProperties": False}
    try:
        _validator(options)
    except (ValueError, ReferencingError) as error:  # ValueError: an invalid schema, or values that JSON has not
        plugin = registry.provider(kind, name)
        raise plugin.fault(f"offers the {kind} '{name}' with options that are no JSON Schema: {str(error).splitlines()[0]}") from error
    if taken := sorted(options["properties"].keys() & RESERVED.get(kind, frozenset())):
        raise registry.provider(kind, name).fault(f"offers the {kind} '{name}' with an option of a reserved name: {', '.join(taken)}")
    return options


def _all_options(kind: str, registry: Registry, mentioned: Container[str] | None) -> dict[str, Schema]:
    """Name -> options of every offer of a kind; one whose options are broken is left out, and said to be so where it is used."""
    found = {}
    for name in registry.names(kind):
        with suppress(PluginError):
            found[name] = options_of(kind, name, registry) if mentioned is None or name in mentioned else {"properties": {}}
    return found


def _name_schema(kind: str, names: Iterable[str]) -> Schema:
    about = f"name of a {kind}; 'mobiprox plugins info NAME' says what it is and which options it has"
    return {"type": "string", "enum": list(names), _KIND: kind, "description": about}


def _inline(key: str, kind: str, common: Schema, required: Sequence[str], registry: Registry, mentioned: Container[str] | None) -> Schema:
    """``{key: NAME, ...}`` with the options of the named plugin beside it."""
    offered = _all_options(kind, registry, mentioned)
    branches = []
    for name, options in offered.items():
        splits = registry.get("dataset", name).splits if kind == "dataset" else ()
        own = {"split": {"enum": list(splits), "description": _SPLIT}} if splits else {}
        branch = {
            **options,
            "properties": {key: {}, **common, **own, **options["properties"]},
            "required": [*required, *options.get("required", ())],
        }
        branches.append({"if": {"type": "object", "properties": {key: {"const": name}}, "required": [key]}, "then": branch})
    return {
        "type": "object",
        "properties": {key: _name_schema(kind, offered)},
        "required": [key],
        **({"allOf": branches} if branches else {}),  # JSON Schema wants at least one
        "description": f"{{{', '.join(f'{k}: NAME' for k in (key, *required))}, and the options of the {kind}}}; installed: {', '.join(offered) or 'none'}",
    }


def _named(kind: str, registry: Registry, mentioned: Container[str] | None) -> Schema:
    """``NAME`` or ``{NAME: options}``."""
    options = _all_options(kind, registry, mentioned)
    bare = [name for name, schema in options.items() if not schema.get("required")]
    loose = {name: {**schema, "type": ["object", "null"]} if name in bare else schema for name, schema in options.items()}
    return {
        "type": ["string", "object"],
        "if": {"type": "string"},
        "then": _name_schema(kind, bare),
        "else": {
            "minProperties": 1,
            "maxProperties": 1,
            "if": {"maxProperties": 1},
            "then": {"properties": loose, "additionalProperties": False, _KIND: kind},
        },
        "description": f"a {kind}, as NAME or as NAME: {{options}}; installed: {', '.join(options) or 'none'}",
    }


# ------------------------------------------------------------------------------------------------------------------ faults in words


def faults(value: Any, schema: Schema, registry: Registry) -> Iterator[tuple[KeyPath, str, str]]:
    """(key path, what, mend) of everything that is wrong with a value."""
    for error in _validator(schema).iter_errors(value):
        yield from _explain(error, value, schema, registry)


def _validator(schema: Schema) -> Draft202012Validator:
    """Raises ValueError or ReferencingError where it is no schema; nothing is fetched from elsewhere."""
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(schema, keywords={"type": _Type}, offline=True)


class _Type:
    """The keyword `type`, but a whole number is one that is written as such: not 4.0, as JSON Schema has it."""

    _CLASSES: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "string": (str,),
        "number": (int, float),
        "integer": (int,),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
        "null": (type(None),),
    }

    def __init__(self, schema: Schema, value: Any, path: list[str | int]) -> None:
        self.types = [value] if isinstance(value, str) else value

    def validate(self, instance: Any) -> None:
        wanted = [t for t in self.types if not (isinstance(instance, bool) and t in ("number", "integer"))]  # a bool is an int in Python
        if not any(isinstance(instance, self._CLASSES[t]) for t in wanted):
            raise ValueError(f"expected {' or '.join(_TYPES[t] for t in self.types)}")


def _explain(error: ValidationError, value: Any, whole: Schema, registry: Registry) -> Iterator[tuple[KeyPath, str, str]]:
    """whole: the schema that `value` was checked against."""
    from jsonschema_rs import ValidationErrorKind

    kind = error.kind
    if isinstance(kind, ValidationErrorKind.PropertyNames):
        yield from _explain(kind.error, value, whole, registry)
        return
    path, _ = _along(value, error.instance_path)
    _, rules = _along(whole, error.schema_path)
    bound: Any = rules[-1]
    schema: Mapping[str, Any] = {} if kind.name == "falseSchema" else rules[-2]
    keyword = kind.name
    value = error.instance
    if isinstance(kind, ValidationErrorKind.AdditionalProperties):
        known = schema.get("properties", {})
        for extra in kind.unexpected:
            if _KIND in schema:
                yield (*path, extra), *_unknown(schema[_KIND], extra, registry)
            else:
                likely = did_you_mean(extra, known)
                yield (*path, extra), f"unknown key '{extra}'", f"did you mean '{likely}'?" if likely else _keys(known)
    elif keyword == "enum" and _KIND in schema:
        if isinstance(value, str):
            yield path, *_unknown(schema[_KIND], value, registry)
    elif isinstance(kind, ValidationErrorKind.Required) and isinstance(value, Mapping):
        key = kind.property
        known = schema.get("properties", {})
        if key not in [did_you_mean(extra, known) for extra in value if extra not in known]:  # a misspelt key is one fault, not two
            yield path, f"'{key}' is missing", _add(key, known.get(key, {}))
    elif keyword == "const" and path == ("mobiprox",):
        newer = isinstance(value, int) and value > bound
        mend = "upgrade: pip install --upgrade mobiprox" if newer else f"write 'mobiprox: {bound}'"
        yield path, f"expected schema number {bound}, got {_got(value)}", mend
    elif keyword in ("anyOf", "oneOf") and all("required" in branch for branch in bound) and isinstance(value, Mapping):
        ways = " or ".join(" with ".join(f"'{key}'" for key in branch["required"]) for branch in bound)
        yield (
            path,
            f"expected exactly one of {ways}" if keyword == "oneOf" else f"expected {ways}",
            "see 'mobiprox plugins info' for what they mean",
        )
    else:
        what = _WORDS.get(keyword, lambda _bound, _value: error.message)(bound, value)
        if keyword in ("type", "enum", "const", "anyOf", "oneOf"):
            what = f"expected {_describe(schema)}, got {_got(value)}"
        yield path, what, _mend(path, schema, value)


def _along(root: Any, steps: Iterable[str | int]) -> tuple[KeyPath, list[Any]]:
    """The keys of a path, and the values that it passes, `root` first.

    steps: as the library gives them, which takes keys that are all digits for numbers.
    """
    path: list[str | int] = []
    passed = [root]
    for step in steps:
        at = passed[-1]
        key = step if isinstance(at, list) or step in at else next(k for k in at if k.lstrip("+").isdecimal() and int(k) == step)
        path.append(key)
        passed.append(at[key])
    return tuple(path), passed


def _unknown(kind: str, name: str, registry: Registry) -> tuple[str, str]:
    """Why a name of a kind is not among those in the schema: what, mend."""
    try:
        needed = options_of(kind, name, registry).get("required", ())
    except PluginError as error:
        return error.what, error.mend or ""
    example = ", ".join(f"{key}: ..." for key in needed)
    return f"the {kind} '{name}' needs options: {', '.join(needed)}", f"write '{name}: {{{example}}}'"


_WORDS: Mapping[str, Callable[[Any, Any], str]] = {
    "minimum": lambda bound, value: f"expected at least {bound}, got {value}",
    "maximum": lambda bound, value: f"expected at most {bound}, got {value}",
    "exclusiveMinimum": lambda bound, value: f"expected more than {bound}, got {value}",
    "exclusiveMaximum": lambda bound, value: f"expected less than {bound}, got {value}",
    "multipleOf": lambda bound, value: f"expected a multiple of {bound}, got {value}",
    "minItems": lambda bound, value: f"expected at least {bound} in the list, got {len(value)}",
    "maxItems": lambda bound, value: f"expected at most {bound} in the list, got {len(value)}",
    "uniqueItems": lambda _, value: "the list has an item twice",
    "minLength": lambda bound, value: (
        "expected some text, got none" if bound == 1 else f"expected at least {bound} characters, got {len(value)}"
    ),
    "maxLength": lambda bound, value: f"expected at most {bound} characters, got {len(value)}",
    "pattern": lambda bound, value: f"{_got(value)} does not have the form {bound}",
    "minProperties": lambda bound, value: "expected a name, got an empty mapping",
    "maxProperties": lambda bound, value: f"expected one name, got {', '.join(map(repr, value))}",
}

_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping (key: value)",
    "null": "nothing",
}


def _describe(schema: Mapping[str, Any]) -> str:
    """What a schema asks for, in words."""
    if "const" in schema:
        return _got(schema["const"])
    if "enum" in schema:
        return ("one of " if len(schema["enum"]) > 1 else "") + ", ".join(map(_got, schema["enum"]))
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return " or ".join(dict.fromkeys(_describe(branch) for branch in schema[keyword]))
    types = schema.get("type", [])
    if types == ["string", "object"] and "if" in schema:
        return "a name, or a name with options"
    words = " or ".join(_TYPES[t] for t in ([types] if isinstance(types, str) else types))
    if types == "array" and isinstance(items := schema.get("items"), Mapping) and "enum" in items:
        words += f" of {', '.join(map(_got, items['enum']))}"
    return words or "something else"


def _got(value: Any) -> str:
    """A value as the user would recognise it."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"'{value if len(value) <= 40 else value[:37] + '...'}'"
    return json.dumps(value)


def _mend(path: KeyPath, schema: Mapping[str, Any], value: Any) -> str:
    """How to write it instead."""
    key = next((str(k) for k in reversed(path) if isinstance(k, str)), "")
    types = schema.get("type", [])
    wanted = {types} if isinstance(types, str) else set(types)
    if isinstance(value, str) and wanted & {"number", "integer"}:
        if re.fullmatch(r"[-+]?\d+(\.\d*)?", value.strip()):
            return f"write it without quotes: {value.strip()}"
        if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value.strip()):
            return f"YAML takes {value.strip()} as text; write {float(value)!r}"
    if isinstance(value, str) and "enum" in schema and (likely := did_you_mean(value, [v for v in schema["enum"] if isinstance(v, str)])):
        return f"did you mean '{likely}'?"
    if isinstance(value, bool) and ("string" in wanted or "enum" in schema):
        return "YAML takes yes, no, on and off as true or false; put it in quotes"
    if isinstance(value, int | float) and wanted == {"string"}:
        return f"put it in quotes: '{value}'"
    if wanted == {"array"} and isinstance(value, str | int | float):
        return f"put it in brackets: [{value}]"
    if isinstance(value, Mapping) and len(value) > 1 and "maxProperties" in schema:
        return "options belong below the name, indented further"
    if "default" in schema:
        return f"for example '{key}: {json.dumps(schema['default'])}'"
    if "description" in schema:
        return f"{key}: {schema['description']}" if key else str(schema["description"])
    return "correct the value; 'mobiprox schema' has the whole format"


def _add(key: str, schema: Mapping[str, Any]) -> str:
    if _KIND in schema:
        kind = KINDS[schema[_KIND]]
        return f"add '{key}: NAME'; installed {kind.plural}: {', '.join(schema['enum']) or 'none'}"
    if "const" in schema:
        return f"add '{key}: {json.dumps(schema['const'])}'"
    if "enum" in schema:
        return f"add '{key}: {schema['enum'][0]}'" + (f" (or {', '.join(map(str, schema['enum'][1:]))})" if schema["enum"][1:] else "")
    return f"add '{key}: ...'" + (f", {schema['description']}" if "description" in schema else "")


def _keys(known: Mapping[str, Any]) -> str:
    return f"known keys: {', '.join(known)}" if known else "it takes no options"


def paths(value: Any, schema: Mapping[str, Any], at: KeyPath = ()) -> Iterator[KeyPath]:
    """Where in a valid value the strings stand that a plugin's schema declares as ``"format": "path"``."""
    if isinstance(value, str) and schema.get("format") == "path":
        yield at
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from paths(value, branch, at)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from paths(item, schema.get("properties", {}).get(key, {}), (*at, key))
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from paths(item, schema["items"], (*at, index))
