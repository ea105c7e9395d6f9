"""``mobiprox init``: an experiment for a network, which is asked for what it needs; what fits it is chosen among what is installed.

A plugin may say that it is a good first choice of its kind by an attribute ``preferred = True``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ExperimentError, MobiproxError, PluginError, UsageError
from .schema import SCHEMA_NUMBER

if TYPE_CHECKING:
    from .graph import Graph
    from .plugins import Registry

SCHEMA_FILE = "experiment.schema.json"
"""Written beside the experiment, for editors that complete and check."""


@dataclass(frozen=True, slots=True)
class Initial:
    """text: of the experiment file. notes: what the network was found to be, and what is left to fill in."""

    text: str
    notes: tuple[str, ...]
    complete: bool


def initial(model: Path, registry: Registry, folder: Path, dataset: Mapping[str, Any] | None = None) -> Initial:
    """An experiment file in `folder` for the network of a file. dataset: {dataset: NAME, option: value}, to be tried before others.

    Raises UsageError where no frontend reads the file, LoweringError where the network cannot be run.
    """
    from .network import Network

    if not model.exists():
        raise UsageError(f"no file {model}", mend="give the file of a trained network")
    path = _relative(model, folder)
    frontend, loaded = _read(path, registry, folder)
    network = Network.from_model(loaded, model.stem)
    graph = network.at_batch(network.batch or 1)
    notes = [_about(graph)]
    data, fits = _data(graph, registry, folder, dataset)
    notes += fits
    techniques = list(_techniques(graph, registry))
    notes += [f"{name}: {count} operators, {settings} settings" for name, count, settings in techniques]
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# {_about(graph)}",
        f"mobiprox: {SCHEMA_NUMBER}",
        f"model: {{frontend: {frontend}, path: {_quoted(path)}}}",
        "data:",
        *(f"  {part}: {_flow({**chosen, 'split': split})}" for part, split, chosen in data[0]),
        "techniques:",
        *(f"  - {name}" for name, *_ in techniques),
        f"search: {{heuristic: {_first('heuristic', registry)}, levels: 10}}    # 'mobiprox plugins info NAME' shows the options",
        f"backend: {first_backend(registry)}",
    ]
    strategies = [n for n in registry.names("strategy") if not registry.get("strategy", n).options.get("required")]
    lines += [f"# strategy: NAME    # when to change the level at run time: {', '.join(strategies)}"] if strategies else []
    lines += ["seed: 0", ""]
    return Initial("\n".join(lines), tuple(notes), data[1])


def _read(path: str, registry: Registry, folder: Path) -> tuple[str, Any]:
    """The frontend that reads a file, and what it gives."""
    refused = []
    for name in registry.names("frontend"):
        frontend = registry.get("frontend", name)
        if "path" not in frontend.options.get("properties", {}):
            continue
        try:
            return name, frontend.load({"path": path}, folder)
        except MobiproxError as error:
            refused.append(f"{name}: {error.what}")
    if not refused:
        raise PluginError("no frontend is installed", mend="pip install 'mobiprox[all]' brings those of this project")
    raise UsageError(f"no frontend reads {path}", mend="\n".join(refused))


def _about(graph: Graph) -> str:
    """What the network takes and gives."""
    takes = ", ".join(f"float32{list(spec.shape[1:])}" for spec in graph.inputs)
    gives = ", ".join(str(spec.shape[-1]) for spec in graph.outputs)
    return f"the network takes {takes} and gives {gives} scores; {len([o for o in graph.operators if o.kind != 'view'])} operators"


Parts = tuple[list[tuple[str, str, Mapping[str, Any]]], bool]


def _data(graph: Graph, registry: Registry, folder: Path, wanted: Mapping[str, Any] | None) -> tuple[Parts, list[str]]:
    """(part, split, data set with options) for tune and test, and whether they were seen to fit; what was tried."""
    from .resolve import check_samples

    tried = []
    for name, options in [(str(wanted["dataset"]), _without(wanted, "dataset"))] if wanted else _loadable(registry):
        dataset = registry.get("dataset", name)
        splits = [split for split in ("tune", "test") if split in dataset.splits] if dataset.splits else ["all"]
        if len(splits) < 2 and dataset.splits:
            continue
        try:
            samples = dataset.load(splits[0], options, folder)
            check_samples(samples, graph)
        except (ExperimentError, MobiproxError) as error:
            if wanted:
                raise
            tried.append(f"data set '{name}' does not fit: {error.what}")
            continue
        if not dataset.splits:
            most = len(samples.inputs)
            halves = [f"0:{most // 2}", f"{most // 2}:{most}"]
            return ([("tune", halves[0], {"dataset": name, **options}), ("test", halves[1], {"dataset": name, **options})], True), [
                f"data set '{name}' fits: {most} samples, the first half to tune on, the second to test"
            ]
        return ([(split, split, {"dataset": name, **options}) for split in splits], True), [f"data set '{name}' fits"]
    own = next((n for n in registry.names("dataset") if not registry.get("dataset", n).splits), None)
    if own is None:
        raise PluginError(
            "no data set is installed that fits the network, and none that reads your own arrays", mend="\n".join(tried) or None
        )
    needed = dict.fromkeys(registry.get("dataset", own).options.get("required", ()), "FILE")
    chosen = {"dataset": own, **needed}
    return ([("tune", "0:1000", chosen), ("test", "1000:2000", chosen)], False), [*tried, "write in where your data are: FILE"]


def _loadable(registry: Registry) -> Iterator[tuple[str, dict[str, Any]]]:
    """Data sets that need nothing to be loaded."""
    for name in registry.names("dataset"):
        if not registry.get("dataset", name).options.get("required"):
            yield name, {}


def _techniques(graph: Graph, registry: Registry) -> Iterator[tuple[str, int, int]]:
    """Techniques that offer something for this network: name, how many operators, how many settings."""
    for name in registry.names("technique"):
        technique = registry.get("technique", name)
        if technique.options.get("required"):
            continue
        found = [settings for op in graph.operators if (settings := list(technique.settings(op, graph, {})))]
        if found:
            yield name, len(found), sum(map(len, found))


def _first(kind: str, registry: Registry) -> str:
    """The first choice of a kind: a preferred one, else the first by name."""
    names = [name for name in registry.names(kind) if not registry.get(kind, name).options.get("required")]
    if not names:
        raise PluginError(f"no {kind} is installed", mend="pip install 'mobiprox[all]' brings those of this project")
    return min(names, key=lambda name: not getattr(registry.get(kind, name), "preferred", False))


def first_backend(registry: Registry) -> str:
    """The first choice among backends that have a usable device, else the first choice at all."""
    usable = [n for n in registry.names("backend") if any(report.problem is None for report in registry.get("backend", n).devices())]
    if not usable:
        return _first("backend", registry)
    return min(usable, key=lambda name: not getattr(registry.get("backend", name), "preferred", False))


def _relative(path: Path, folder: Path) -> str:
    import os

    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: value for k, value in mapping.items() if k not in (key, "split")}


def _flow(value: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_quoted(item) if isinstance(item, str) else _json(item)}" for key, item in value.items()) + "}"


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def _quoted(text: str) -> str:
    """Text as YAML takes it inside braces."""
    import re

    return (
        text
        if re.fullmatch(r"[A-Za-z_./][\w./-]*", text) and text not in ("yes", "no", "on", "off", "true", "false", "null")
        else _json(text)
    )
