"""A YAML file in which every value knows its line. Data only: no tag constructs anything but text, numbers, lists and mappings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ExperimentError, Fault, UsageError

KeyPath = tuple[str | int, ...]

MAX_VALUES = 10_000
"""More values than any experiment has; a few nested anchors can spell out billions."""

_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}


def spell(path: KeyPath) -> str:
    """``('techniques', 0, 'strides')`` -> ``techniques[0].strides``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file. name: as the user gave it; lines: key path -> line, of the key where there is one, else of the value."""

    name: str
    value: Any
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of a key path, or of the nearest one around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def where(self, path: KeyPath) -> str:
        """``file:line: key.path``."""
        return f"{self.name}:{self.line(path)}: {spell(path)}" if path else f"{self.name}:{self.line(path)}"


def read(path: Path) -> tuple[Document, list[tuple[KeyPath, Fault]]]:
    """A YAML file and what is odd in it: a key twice, a date, a number that is not finite.

    Raises UsageError where there is no such file, ExperimentError where it is not YAML or empty.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the experiment file: {error.strerror}", where=str(path), mend="give the path of a YAML file"
        ) from error
    return parse(text, str(path))


def parse(text: bytes | str, name: str) -> tuple[Document, list[tuple[KeyPath, Fault]]]:
    """As `read`, for text."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise ExperimentError("the file is empty", where=f"{name}:1", mend="start it with 'mobiprox: 1'")
            reader = _Reader(loader, name)
            value = reader.read(node, (), frozenset())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _not_yaml(error, name) from error
    except RecursionError as error:
        raise ExperimentError("nested too deeply", where=f"{name}:1", mend="an experiment needs no more than a few levels") from error
    return Document(name, value, reader.lines), reader.faults


class _Reader:
    """Turns nodes into values and writes down lines and faults."""

    def __init__(self, loader: yaml.SafeLoader, name: str) -> None:
        self.loader = loader
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.faults: list[tuple[KeyPath, Fault]] = []

    def fault(self, path: KeyPath, node: yaml.Node, what: str, mend: str) -> None:
        place = f"{self.name}:{_line(node)}: {spell(path)}" if path else f"{self.name}:{_line(node)}"
        self.faults.append((path, Fault(place, what, mend)))

    def read(self, node: yaml.Node, path: KeyPath, around: frozenset[int]) -> Any:
        """around: ids of the nodes that this one lies in."""
        self.lines.setdefault(path, _line(node))
        if len(self.lines) > MAX_VALUES or id(node) in around:
            raise ExperimentError(
                "has too many values, or an anchor that holds itself", where=self.name, mend="write the values out, without anchors"
            )
        if node.tag not in _PLAIN_TAGS:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            self.fault(
                path, node, f"expected text, a number, a list or a mapping, got a {kind}", "if it is meant as text, put it in quotes"
            )
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, around | {id(node)})
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i), around | {id(node)}) for i, item in enumerate(node.value)]
        value = self.loader.construct_object(node)
        if isinstance(value, float) and not math.isfinite(value):
            self.fault(path, node, f"expected a finite number, got {value}", "write a number, or leave the key out")
            return 0.0
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, around: frozenset[int]) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                self.fault((*path, key.value), key, f"stands twice, first in line {seen[key.value]}", "remove one of the two")
            elif isinstance(key, yaml.ScalarNode):
                seen[key.value] = _line(key)
        self.loader.flatten_mapping(node)  # "<<" merges: keys of the anchor come first, own keys win
        value: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                text = str(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                self.fault(path, key, f"expected a name as key, got {text}", f"put it in quotes: '{text}'")
                continue
            self.lines[*path, key.value] = _line(key)
            value[key.value] = self.read(item, (*path, key.value), around)
        return value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _not_yaml(error: yaml.YAMLError, name: str) -> ExperimentError:
    mark = getattr(error, "problem_mark", None)
    place = f"{name}:{mark.line + 1}" if mark is not None else name
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).splitlines()[0]
    mend = "check indentation, colons and brackets around this line"
    if "'\\t'" in what:
        mend = "indent with spaces, not tabs"
    elif "another document" in what or "single document" in str(error):
        mend = "remove the '---' that starts a second document"
    elif isinstance(error, yaml.reader.ReaderError):
        what, mend = "has bytes that are not text", "save it as UTF-8 text; is it an experiment file?"
    return ExperimentError(f"not YAML: {what}", where=place, mend=mend)
