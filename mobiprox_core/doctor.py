"""What is wrong with the installed plugins, and how to mend it. Each is loaded in a process of its own, so that nothing it does hurts.

Found are: plugins that do not load (or crash, or never end) and hooks that do not fit, slow importers (with what they import),
requirements that the environment does not meet, names that two plugins have, offers under another name than the plugin's, options
that are no schema, interfaces that are not spoken, backends without a device.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from . import hookspecs, plugins
from .plugins import KINDS, Plugin
from .probe import MARK

SLOW_MS = 100.0
"""Processor time that a plugin may take to load; the budget of a whole command is 150 ms."""

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong ("error"), or that one should know ("note"). plugin: its name; None where it is about several."""

    grade: Literal["error", "note"]
    what: str
    mend: str | None
    plugin: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of loading a plugin alone. described: as `probe.describe` gives it, None where that never ended; imports: (package, ms)."""

    described: Mapping[str, Any] | None
    devices: Sequence[Mapping[str, Any]] | None
    imports: tuple[tuple[str, float], ...]
    died: str


def examine(installed: Sequence[Plugin]) -> tuple[list[Finding], dict[str, Probe]]:
    """Findings, errors first; and the probe of every plugin that metadata finds no fault with."""
    sound = [plugin for plugin in installed if plugin.problem is None]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        probes = dict(zip((p.name for p in sound), pool.map(_probe, sound), strict=True))
    found = [_error(plugin, plugin.problem.what, plugin.problem.mend) for plugin in installed if plugin.problem is not None]
    for plugin in sound:
        found += _of_loading(plugin, probes[plugin.name])
    found += _of_names(sound, probes)
    found += _of_requirements(installed)
    found += _of_devices(sound, probes)
    return sorted(found, key=lambda finding: finding.grade), probes


def _error(plugin: Plugin, what: str, mend: str | None) -> Finding:
    return Finding("error", what, mend, plugin.name)


# ------------------------------------------------------------------------------------------------------------------------- loading


def _probe(plugin: Plugin) -> Probe:
    asks = ["devices"] if {"backend", "meter"} & set(plugin.offers) else []
    command = [sys.executable, "-X", "importtime", "-m", "mobiprox_core.probe", plugin.name, *asks]
    died = ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
        out, err = done.stdout, done.stderr
        if done.returncode:
            died = f"ended the process with {_ending(done.returncode)}"
    except subprocess.TimeoutExpired as late:
        out, err = (text.decode(errors="replace") if isinstance(text, bytes) else text or "" for text in (late.stdout, late.stderr))
        died = f"did not come to an end within {PATIENCE_S:.0f} s"
    told = [json.loads(line.removeprefix(MARK)) for line in out.splitlines() if line.startswith(MARK)]
    return Probe(told[0] if told else None, told[1] if len(told) > 1 else None, _imports(err, plugin), died)


def _ending(code: int) -> str:
    import signal

    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _imports(log: str, plugin: Plugin) -> tuple[tuple[str, float], ...]:
    """Packages that loading the plugin imported, with the milliseconds that took, dearest first; from Python's -X importtime."""
    took: dict[str, float] = {}
    for line in log.partition(MARK.rstrip())[2].splitlines():
        if match := re.match(r"import time:\s*\d+ \|\s*(\d+) \| +(\S+)", line):
            package = match[2].split(".")[0]
            took[package] = max(took.get(package, 0.0), int(match[1]) / 1000)
    own = {"mobiprox_core", *(module.split(".")[0] for module in _modules(plugin))}
    foreign = {package: ms for package, ms in took.items() if package not in own and package not in sys.stdlib_module_names}
    return tuple(sorted(foreign.items(), key=lambda pair: -pair[1]))


def _modules(plugin: Plugin) -> list[str]:
    return [entry.value.partition(":")[0] for entry in importlib.metadata.entry_points(group=plugins.GROUP, name=plugin.name)]


def _of_loading(plugin: Plugin, probe: Probe) -> Iterator[Finding]:
    described = probe.described
    if described is None:
        yield _error(plugin, f"{plugin} {probe.died or 'says nothing'} while it was loaded", plugin.fault("").mend)
        return
    if (problem := described["problem"]) is not None:
        yield _error(plugin, problem["what"], problem["mend"])
    if described["load_ms"] > SLOW_MS:
        culprits = [f"{package} ({ms:.0f} ms)" for package, ms in probe.imports if ms > max(SLOW_MS, probe.imports[0][1]) / 5]
        because = f", because it imports {', '.join(culprits)}" if culprits else ""
        mend = "import what is heavy inside the methods that need it" if culprits else "do less at import and in offering hooks"
        yield _error(
            plugin,
            f"{plugin} takes {described['load_ms']:.0f} ms to load{because}",
            f"in the plugin: {mend}; as its user: pip install --upgrade {plugin.distribution}, or leave it out with {plugins.ALLOW_LIST}",
        )
    for warning in described["warnings"]:
        yield Finding("note", f"{plugin}: {warning}", f"upgrade it: pip install --upgrade {plugin.distribution}", plugin.name)
    for kind, offered in described["offers"].items():
        promised = plugins.promised(plugin.name).get(kind, ())
        if set(promised) - set(offered):
            wrong = f"{plugin} is called as one that offers the {kind} '{promised[0]}', but does not"
            yield _error(plugin, wrong, f"in the plugin: call its entry point '{KINDS[kind].prefix}_{offered[0]}'")
        elif untold := sorted(set(offered) - set(plugin.offers.get(kind, ()))):
            what = f"{plugin} offers the {kind} {', '.join(untold)}, which its metadata does not tell: 'mobiprox plugins list' cannot know"
            yield Finding("note", what, f'in the plugin: declare it in [project.entry-points."mobiprox.{kind}"]', plugin.name)
    if problem is None and (lacking := set(plugins.promised(plugin.name)) - set(described["offers"])):
        wrong = f"{plugin} is called as one that offers a {lacking.pop()}, but offers none"
        yield _error(plugin, wrong, "in the plugin: begin the name of its entry point with another word, or offer one")
    if not plugin.interfaces:
        newest = f"mobiprox[interface{hookspecs.INTERFACES[-1]}]"
        yield Finding(
            "note", f"{plugin} does not say which plugin interface it speaks", f"in the plugin: depend on '{newest}'", plugin.name
        )


# --------------------------------------------------------------------------------------------------------------------------- names


def _of_names(installed: Sequence[Plugin], probes: Mapping[str, Probe]) -> Iterator[Finding]:
    offered: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in installed:
        described = probes[plugin.name].described or {"offers": {}}
        for kind, names in described["offers"].items():
            for name in names:
                offered.setdefault((kind, name), []).append(plugin)
    for (kind, name), parties in offered.items():
        for one, other in combinations(parties, 2):
            mend = f"remove one of them: pip uninstall {one.distribution} or pip uninstall {other.distribution}"
            yield Finding("error", f"{one} and {other} both offer the {kind} '{name}'", mend)


# -------------------------------------------------------------------------------------------------------------------- requirements


def _of_requirements(installed: Iterable[Plugin]) -> Iterator[Finding]:
    """Requirements of core and of the plugins that the environment does not meet; who else asks for the same is named."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    asked: dict[str, list[tuple[str, Requirement]]] = {}
    needs = {plugin.distribution: plugin.needs for plugin in installed if plugin.distribution}
    needs["mobiprox"] = tuple(importlib.metadata.requires("mobiprox") or ())
    for distribution, texts in needs.items():
        for text in texts:
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                yield Finding(
                    "error", f"{distribution} has a requirement that cannot be read: {error}", f"pip install --upgrade {distribution}"
                )
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                asked.setdefault(canonicalize_name(requirement.name), []).append((distribution, requirement))
    for name, parties in sorted(asked.items()):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        for distribution, requirement in parties:
            if version is not None and requirement.specifier.contains(version, prereleases=True):
                continue
            there = f"{name} {version} is installed" if version is not None else f"{name} is not installed"
            others = [f"{of} needs {other.name}{other.specifier}" for of, other in parties if of != distribution and other.specifier]
            also = f" ({'; '.join(others[:3])})" if others and version is not None else ""
            mend = f"pip install '{requirement.name}{requirement.specifier}', or pip install --upgrade {distribution}"
            yield Finding("error", f"{distribution} needs {requirement.name}{requirement.specifier}, but {there}{also}", mend)


# ------------------------------------------------------------------------------------------------------------------------- devices


def _of_devices(installed: Sequence[Plugin], probes: Mapping[str, Probe]) -> Iterator[Finding]:
    """Backends and meters that cannot be used here: an error where no backend is left, else notes."""
    usable = any(device["kind"] == "backend" and device["problem"] is None for probe in probes.values() for device in probe.devices or ())
    backends = [plugin for plugin in installed if "backend" in plugin.offers]
    for plugin in installed:
        probe = probes[plugin.name]
        described = probe.described or {"offers": {}, "problem": None}
        if described["problem"] is not None or not {"backend", "meter"} & set(described["offers"]):
            continue
        if probe.devices is None and probe.died:
            yield _error(plugin, f"{plugin} {probe.died} while it looked for devices", plugin.fault("").mend)
            continue
        grade: Literal["error", "note"] = "note" if usable or "backend" not in described["offers"] else "error"
        for device in probe.devices or ():
            if device["problem"] is not None:
                what = f"the {device['kind']} '{device['name']}'" + (
                    f" cannot use {device['device']}" if device["device"] else " cannot measure here"
                )
                yield Finding(grade, f"{what}: {device['problem']}", device["mend"], plugin.name)
        if not probe.devices:
            yield Finding(
                grade, f"{plugin} finds no device", "connect one, or install its driver; 'mobiprox devices' looks again", plugin.name
            )
    if not backends and installed:
        yield Finding("note", "no backend is installed: nothing can be run", f"pip install {KINDS['backend'].distribution('NAME')}")
