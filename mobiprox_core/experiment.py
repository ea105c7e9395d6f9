"""The experiment file: YAML in, a frozen `Experiment` out, every value knows its line.

All faults are found at once and reported in line order as ``file:line: key.path: what`` and how to mend it. The format is in
docs/experiment.md; `schema` is the same as JSON Schema, with the options of the installed plugins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import document
from .document import Document, KeyPath, spell
from .errors import ExperimentError, Fault, MobiproxError, UsageError
from .ledger import digest, digest_file
from .plugins import Registry
from .schema import COSTS, DEFAULT_CONFIDENCE, DEFAULT_LEVELS, RESERVED, SCHEMA_NUMBER, choice_schema, experiment_schema, faults, paths

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A plugin's offer by its name, with the options given to it (validated; as written, defaults not filled in)."""

    name: str
    options: Options

    def to_json(self) -> dict[str, Any]:
        return {self.name: dict(self.options)}


@dataclass(frozen=True, slots=True)
class DataChoice:
    """One split of a data set, with the data set's options."""

    dataset: str
    split: str
    options: Options

    def to_json(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "split": self.split, **self.options}


@dataclass(frozen=True, slots=True)
class Search:
    """The heuristic with its options, and what core itself asks of a search.

    max_loss: what may be lost, in the unit of the measure; None for the measure's own default. in_points: it was given as `max_loss_pp`.
    max_part_loss: of any class or group alone; None for three times `max_loss`. confidence: that other data lose no more.
    max_latency_ms, max_energy_mj, max_size_mb: of one inference, of one level; None where there is no limit. weights: cost -> its weight,
    relative costs are summed by them. levels: how many to ship at most, the exact one included. include, exclude: patterns of operator
    names, as `fnmatch` reads them. recalibrate: affine, full or off; None: affine where there are calibration inputs.
    """

    heuristic: str
    options: Options
    max_loss: float | None = None
    levels: int = DEFAULT_LEVELS
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    in_points: bool = False
    max_part_loss: float | None = None
    confidence: float = DEFAULT_CONFIDENCE
    max_latency_ms: float | None = None
    max_energy_mj: float | None = None
    max_size_mb: float | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: {COSTS[0]: 1.0})
    recalibrate: str | None = None

    @property
    def needs_energy(self) -> bool:
        """Whether configurations are chosen by their energy."""
        return self.max_energy_mj is not None or self.weights.get("energy", 0) > 0

    @property
    def needs_size(self) -> bool:
        return self.max_size_mb is not None or self.weights.get("size", 0) > 0

    def admits(self, operator: str) -> bool:
        """Whether an operator of this name may be approximated."""
        return any(fnmatchcase(operator, p) for p in self.include) and not any(fnmatchcase(operator, p) for p in self.exclude)

    def to_json(self) -> dict[str, Any]:
        return {
            "heuristic": self.heuristic,
            **self.demands(),
            "levels": self.levels,
            "include": list(self.include),
            "exclude": list(self.exclude),
            **({} if self.recalibrate is None else {"recalibrate": self.recalibrate}),
            **self.options,
        }

    def demands(self) -> dict[str, Any]:
        """Limits and objectives, without those that are left to defaults."""
        limits = ("max_part_loss", "max_latency_ms", "max_energy_mj", "max_size_mb")
        return {
            **({} if self.max_loss is None else {"max_loss_pp" if self.in_points else "max_loss": self.max_loss}),
            **{key: getattr(self, key) for key in limits if getattr(self, key) is not None},
            "confidence": self.confidence,
            "weights": dict(sorted(self.weights.items())),
        }


@dataclass(frozen=True, eq=False)
class Experiment:
    """What a run is asked to do. Relative paths in options are relative to `folder`, the folder of the file.

    model: a frontend with its options. calibrate: None where the tuning data serve. one_temperature: confidences of all levels are scaled by
    one, instead of each by its own. files: key path -> file or folder that the
    experiment names, which exists.
    """

    document: Document
    folder: Path
    model: Choice
    tune: DataChoice
    test: DataChoice
    techniques: tuple[Choice, ...]
    search: Search
    backend: Choice
    files: Mapping[str, Path]
    calibrate: DataChoice | None = None
    strategy: Choice | None = None
    trace: DataChoice | None = None
    energy: Choice | None = None
    executor: Choice | None = None
    qos: Choice | None = None
    one_temperature: bool = False
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The content in one spelling, defaults of core filled in; it does not change with comments, order or layout."""
        data = {"tune": self.tune, "test": self.test, "calibrate": self.calibrate}
        rest = {"qos": self.qos, "strategy": self.strategy, "trace": self.trace, "energy": self.energy, "executor": self.executor}
        return {
            "mobiprox": SCHEMA_NUMBER,
            "model": {"frontend": self.model.name, **self.model.options},
            "data": {key: value.to_json() for key, value in data.items() if value is not None},
            "techniques": [technique.to_json() for technique in self.techniques],
            "search": self.search.to_json(),
            "backend": self.backend.to_json(),
            **{key: value.to_json() for key, value in rest.items() if value is not None},
            **({"temperature": "network"} if self.one_temperature else {}),
            "seed": self.seed,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content and the content of the files it names; where those lie does not count."""
        content = self.to_json()
        for key, file in self.files.items():
            holder, last = _reach(content, _key_path(key))
            holder[last] = {"name": file.name, "sha256": _digest(file)}
        return digest(content)

    def where(self, key: str = "") -> str:
        """``file:line: key.path`` of a key such as ``data.tune`` or ``techniques[0]``."""
        return self.document.where(_key_path(key))

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Errors that are raised inside say that this key is where they come from."""
        try:
            yield
        except MobiproxError as error:
            place = self.where(key)
            error.where = _within(place, error.where)
            if isinstance(error, ExperimentError):
                error.faults = tuple(Fault(_within(place, fault.where), fault.what, fault.mend) for fault in error.faults)
            raise


def load(path: str | Path, registry: Registry) -> Experiment:
    """Read and resolve an experiment file; nothing is run, no model or data is loaded.

    Raises ExperimentError with every fault, in line order; UsageError where there is no such file.
    """
    path = Path(path)
    text, found = document.read(path)
    if not isinstance(text.value, Mapping):
        raise ExperimentError("expected a mapping (key: value)", where=text.where(()), mend="start it with 'mobiprox: 1'")
    schema = experiment_schema(registry, _words(text.value))
    number = text.value.get("mobiprox")
    if isinstance(number, int) and number > SCHEMA_NUMBER:  # what else is wrong with a newer format, only a newer Mobiprox can say
        what, mend = next((what, mend) for key, what, mend in faults(text.value, schema, registry) if key == ("mobiprox",))
        raise ExperimentError(what, where=text.where(("mobiprox",)), mend=mend)
    value, files, lost = _resolve_files(text.value, _own_schemas(text.value, registry), path.parent)
    located = [*faults(text.value, schema, registry), *lost, *_contradictions(text.value)]
    already = {key for key, _ in found}
    found += [(key, Fault(text.where(key), what, mend)) for key, what, mend in located if key not in already]
    if found:
        found.sort(key=lambda item: text.line(item[0]))
        every = tuple(dict.fromkeys(fault for _, fault in found))
        raise ExperimentError(f"{len(every)} fault(s)", where=str(path), faults=every)
    return _experiment(text, path.parent, value, files)


def choose(kind: str, text: str, registry: Registry, where: str) -> Choice:
    """A choice given on the command line: ``NAME`` or ``{NAME: {option: value}}``, in YAML. Raises UsageError."""
    return _choice(_from_text(kind, text, registry, where))


def choose_data(text: str, registry: Registry, where: str) -> DataChoice:
    """Data given on the command line: ``DATASET:SPLIT``, or ``{dataset: NAME, split: NAME, option: value}``. Raises UsageError."""
    if match := re.fullmatch(r"\s*([\w-]+):([\w.-]+)\s*", text):
        text = f"{{dataset: {match[1]}, split: {match[2]}}}"
    return _data(_from_text("dataset", text, registry, where))


def choose_grid(texts: Sequence[str], where: str) -> dict[str, list[Any]]:
    """Options to sweep over, given on the command line: ``NAME=VALUE,VALUE``, in YAML. Raises UsageError."""
    grid = {}
    for text in texts:
        name, equals, values = text.partition("=")
        try:
            grid[name.strip()] = document.parse(f"[{values}]", where)[0].value
        except ExperimentError as error:
            raise UsageError(f"'{text}' cannot be read: {error.what}", where=where, mend=error.mend) from error
        if not equals or not grid[name.strip()]:
            raise UsageError(f"'{text}' names no values", where=where, mend="write OPTION=VALUE,VALUE, e.g. low=0.3,0.5")
    return grid


def choose_costs(text: str) -> str | list[float]:
    """Costs given on the command line: numbers joined by commas, or a word that is left as it is."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return text


def schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (2020-12) of the experiment file with the options of the installed plugins."""
    return experiment_schema(registry)


# ------------------------------------------------------------------------------------------------------------------------ resolving


def _from_text(kind: str, text: str, registry: Registry, where: str) -> Any:
    try:
        value = document.parse(text, where)[0].value
    except ExperimentError as error:
        raise UsageError(f"'{text}' cannot be read: {error.what}", where=where, mend=error.mend) from error
    for key, what, mend in faults(value, choice_schema(kind, registry, _words(value)), registry):
        raise UsageError(f"{spell(key)}: {what}" if key else what, where=where, mend=mend)
    return value


def _own_schemas(value: Mapping[str, Any], registry: Registry) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """(key path, the plugin's own schema) of every place where options of a known plugin stand; the value may have faults."""
    places: list[tuple[str, KeyPath, Any]] = []
    for kind, path, key in (
        ("frontend", ("model",), "frontend"),
        *(("dataset", ("data", entry), "dataset") for entry in _items(value.get("data"))),
        ("dataset", ("trace",), "dataset"),
        ("heuristic", ("search",), "heuristic"),
    ):
        places.append((kind, path, _items(_at(value, path)).get(key)))
    for kind, path in (
        *(("technique", ("techniques", index)) for index in _items(value.get("techniques"))),
        ("qos", ("qos",)),
        ("backend", ("backend",)),
        ("strategy", ("strategy",)),
        ("meter", ("energy",)),
        ("executor", ("executor",)),
    ):
        if isinstance(entry := _at(value, path), Mapping):
            places += [(kind, (*path, name), name) for name in entry]
    for kind, path, name in places:
        if name in registry.names(kind):
            yield path, registry.get(kind, name).options


def _words(value: Any) -> set[str]:
    """Every key and every text in a value."""
    if isinstance(value, str):
        return {value}
    own = {key for key in value if isinstance(key, str)} if isinstance(value, Mapping) else set()
    return own.union(*(_words(item) for item in _items(value).values()))


def _items(value: Any) -> Mapping[Any, Any]:
    """Key or index -> item; empty for what has no items."""
    return value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, list) else {}


def _at(value: Any, path: KeyPath) -> Any:
    for key in path:
        value = _items(value).get(key)
    return value


_VARIABLE = re.compile(r"\$(\{)?(?P<name>[A-Za-z_]\w*)(?(1)\})")


def _resolve_files(
    value: Any, schemas: Iterator[tuple[KeyPath, Mapping[str, Any]]], folder: Path
) -> tuple[Any, dict[str, Path], list[tuple[KeyPath, str, str]]]:
    """The value with ``$NAME`` and ``${NAME}`` in paths replaced from the environment, the files it names, and what is wrong with them."""
    value = _copy(value)
    files: dict[str, Path] = {}
    wrong: list[tuple[KeyPath, str, str]] = []
    for base, own in schemas:
        holder, last = _reach(value, base)
        for inner in list(paths(holder[last], own)):
            key = (*base, *inner)
            at, name = _reach(value, key)
            if unset := [v["name"] for v in _VARIABLE.finditer(at[name]) if v["name"] not in os.environ]:
                wrong.append((key, f"the environment variable {unset[0]} is not set", f"set it: export {unset[0]}=..., or write the path"))
                continue
            at[name] = _VARIABLE.sub(lambda match: os.environ[match["name"]], at[name])
            file = folder / Path(at[name]).expanduser()
            if file.exists():
                files[spell(key)] = file
            else:
                wrong.append((key, f"no file {file}", f"paths are relative to the folder of the experiment file ({folder.resolve()})"))
    return value, files, wrong


def _contradictions(value: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    """What no schema can say."""
    seen: set[str] = set()
    for index, entry in _items(value.get("techniques")).items():
        for name in [entry] if isinstance(entry, str) else _items(entry):
            if name in seen:
                yield ("techniques", index), f"'{name}' stands twice", "put all its options in one entry"
            seen.add(name)
    search = _items(value.get("search"))
    for one, other in (("max_loss", "max_loss_pp"), ("weights", "minimize")):
        if one in search and other in search:
            yield ("search", one), f"'{one}' and '{other}' say the same in two ways", "keep one of them"
    weights = _items(search.get("weights"))
    if weights and not any(isinstance(weight, int | float) and weight > 0 for weight in weights.values()):
        yield ("search", "weights"), "no weight is above 0, so nothing would be made small", "for example 'weights: {latency: 1}'"
    if "energy" not in value:
        for key, asked in (
            ("max_energy_mj", "max_energy_mj" in search),
            ("minimize", search.get("minimize") == "energy"),
            ("weights", weights.get("energy")),
        ):
            if asked:
                yield (
                    ("search", key),
                    "energy is asked for, and there is no meter",
                    "add 'energy: NAME'; 'mobiprox plugins list' has the meters",
                )
    if "trace" in value and "strategy" not in value:
        yield ("trace",), "a trace is replayed with a strategy, and there is none", "add 'strategy: NAME', or remove the trace"


def _experiment(text: Document, folder: Path, value: Mapping[str, Any], files: Mapping[str, Path]) -> Experiment:
    data = {key: _data(entry) for key, entry in value["data"].items()}
    own = value["search"]
    search = Search(
        heuristic=own["heuristic"],
        max_loss=own.get("max_loss_pp", own.get("max_loss")),
        in_points="max_loss_pp" in own,
        max_part_loss=own.get("max_part_loss"),
        confidence=float(own.get("confidence", DEFAULT_CONFIDENCE)),
        max_latency_ms=own.get("max_latency_ms"),
        max_energy_mj=own.get("max_energy_mj"),
        max_size_mb=own.get("max_size_mb"),
        weights=MappingProxyType(dict(own.get("weights") or {own.get("minimize", COSTS[0]): 1.0})),
        levels=own.get("levels", DEFAULT_LEVELS),
        include=tuple(own.get("include", ("*",))),
        exclude=tuple(own.get("exclude", ())),
        recalibrate=(own["recalibrate"] or "off") if "recalibrate" in own else None,
        options=MappingProxyType({key: item for key, item in own.items() if key not in RESERVED["heuristic"]}),
    )
    return Experiment(
        document=text,
        folder=folder,
        model=_inline(value["model"], "frontend"),
        tune=data["tune"],
        test=data["test"],
        calibrate=data.get("calibrate"),
        techniques=tuple(_choice(entry) for entry in value["techniques"]),
        search=search,
        backend=_choice(value["backend"]),
        strategy=_choice(value["strategy"]) if "strategy" in value else None,
        trace=_data(value["trace"]) if "trace" in value else None,
        energy=_choice(value["energy"]) if "energy" in value else None,
        executor=_choice(value["executor"]) if "executor" in value else None,
        qos=_choice(value["qos"]) if "qos" in value else None,
        one_temperature=value.get("temperature") == "network",
        seed=value.get("seed", 0),
        files=MappingProxyType(dict(files)),
    )


def _choice(entry: str | Mapping[str, Any]) -> Choice:
    name, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    return Choice(name, MappingProxyType(dict(options or {})))


def _inline(entry: Mapping[str, Any], key: str) -> Choice:
    return Choice(entry[key], MappingProxyType({k: v for k, v in entry.items() if k != key}))


def _data(entry: Mapping[str, Any]) -> DataChoice:
    return DataChoice(entry["dataset"], entry["split"], MappingProxyType({k: v for k, v in entry.items() if k not in ("dataset", "split")}))


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _reach(value: Any, path: KeyPath) -> tuple[Any, str | int]:
    """What holds the value at a path, and the last key."""
    for key in path[:-1]:
        value = value[key]
    return value, path[-1]


def _key_path(key: str) -> KeyPath:
    """The inverse of `spell`."""
    return tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key))


def _within(place: str, where: str | None) -> str:
    return f"{place}: {where}" if where else place


def _digest(file: Path) -> str:
    """Of a file its content, of a folder the names and contents of all that is in it."""
    if file.is_dir():
        return digest({str(f.relative_to(file)): digest_file(f) for f in sorted(file.rglob("*")) if f.is_file()})
    return digest_file(file)
