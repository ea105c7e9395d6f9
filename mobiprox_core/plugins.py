"""Find, load and name plugins. Knows the kinds of offers; knows nothing of what is offered.

Entry points of the group ``mobiprox`` are loaded one by one, in name order. Whatever goes wrong with one of them (it cannot be
imported, a hook is misspelt or raises, a name is taken) becomes the `problem` of that plugin's record; the others keep working.
There is no global plugin manager: `load` returns a `Registry`, which is handed to whoever needs it.
"""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import pluggy

from . import hookspecs
from .errors import PluginError

if TYPE_CHECKING:
    from .interfaces import Backend, Dataset, Executor, Exporter, Frontend, Heuristic, Meter, Metric, Offer, StrategyOffer, Technique

GROUP = "mobiprox"
"""The entry-point group."""

ALLOW_LIST = "MOBIPROX_PLUGINS"
"""Environment variable: comma-separated names of the entry points to load; unset loads all, empty loads none."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of offer: the hook that offers it, its plural, and how distributions of this kind are called."""

    name: str
    plural: str
    prefix: str

    @property
    def hook(self) -> str:
        return f"mobiprox_{self.plural}"

    def distribution(self, offer: str) -> str:
        """What a distribution with this offer is called by convention."""
        return f"mobiprox-{self.prefix}-{offer.replace('_', '-')}"


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("frontend", "frontends", "frontend"),
            Kind("dataset", "datasets", "data"),
            Kind("qos", "qos", "qos"),
            Kind("technique", "techniques", "approx"),
            Kind("heuristic", "heuristics", "search"),
            Kind("backend", "backends", "backend"),
            Kind("strategy", "strategies", "strategy"),
            Kind("meter", "meters", "meter"),
            Kind("exporter", "exporters", "export"),
            Kind("executor", "executors", "executor"),
        )
    }
)


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known name that was probably meant; None where none is as like (0 to 1). Case and dashes do not count."""
    plain = {k.lower().replace("-", "_"): k for k in known}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=likeness)
    return plain[close[0]] if close else None


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed entry point.

    summary, needs: what its distribution says of itself, and requires. interfaces: the numbers that it speaks; none if it names none.
    offers: kind -> names, as offered; a name that another plugin offers too is listed but cannot be used. hooks: those that it
    implements. warnings: what it uses that will go. problem: what is wrong. Offers of a plugin that was not loaded are those that its
    name promises.
    """

    name: str
    distribution: str
    version: str
    summary: str = ""
    needs: tuple[str, ...] = ()
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: PluginError | None = None

    @property
    def interfaces(self) -> tuple[int, ...]:
        extras = [match[1] for need in self.needs if (match := re.match(r"mobiprox\s*\[([^]]*)\]", need, re.IGNORECASE))]
        return tuple(sorted({int(number) for found in extras for number in re.findall(r"interface(\d+)", found)}))

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.distribution})" if self.distribution else f"plugin '{self.name}'"

    def fault(self, what: str, mend: str | None = None) -> PluginError:
        """An error that names this plugin; by default the mend is to reinstall or remove it."""
        return PluginError(f"{self} {what}", mend=mend or f"reinstall or remove it: pip uninstall {self.distribution}")


class Registry:
    """The plugins of this process and what they offer."""

    def __init__(
        self,
        plugins: Iterable[Plugin],
        offers: Mapping[tuple[str, str], Offer],
        clashes: Mapping[tuple[str, str], PluginError],
        managers: Mapping[str, pluggy.PluginManager],
        left_out: Iterable[Plugin] = (),
    ) -> None:
        """left_out: installed, but not loaded, because MOBIPROX_PLUGINS does not name them."""
        self._plugins = {plugin.name: plugin for plugin in plugins}
        self._offers = dict(offers)
        self._clashes = dict(clashes)
        self._observers = dict(managers)
        self._left_out = tuple(left_out)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """All records in name order, broken ones included."""
        return tuple(self._plugins.values())

    @property
    def problems(self) -> tuple[PluginError, ...]:
        """What is wrong with the installed plugins, each said once."""
        return tuple({str(p.problem): p.problem for p in self.plugins if p.problem is not None}.values())

    @property
    def versions(self) -> dict[str, str]:
        """Plugin -> version of every plugin that works, for provenance."""
        return {p.name: p.version for p in self.plugins if p.problem is None}

    def names(self, kind: str) -> tuple[str, ...]:
        """The usable names of a kind, sorted."""
        return tuple(sorted(name for of, name in self._offers if of == kind))

    def provider(self, kind: str, name: str) -> Plugin:
        """The plugin that offers a name. Raises PluginError as `get`."""
        self._find(kind, name)
        return next(p for p in self.plugins if name in p.offers.get(kind, ()))

    @overload
    def get(self, kind: Literal["frontend"], name: str) -> Frontend: ...
    @overload
    def get(self, kind: Literal["dataset"], name: str) -> Dataset: ...
    @overload
    def get(self, kind: Literal["qos"], name: str) -> Metric: ...
    @overload
    def get(self, kind: Literal["technique"], name: str) -> Technique: ...
    @overload
    def get(self, kind: Literal["heuristic"], name: str) -> Heuristic: ...
    @overload
    def get(self, kind: Literal["backend"], name: str) -> Backend: ...
    @overload
    def get(self, kind: Literal["strategy"], name: str) -> StrategyOffer: ...
    @overload
    def get(self, kind: Literal["meter"], name: str) -> Meter: ...
    @overload
    def get(self, kind: Literal["executor"], name: str) -> Executor: ...
    @overload
    def get(self, kind: Literal["exporter"], name: str) -> Exporter: ...
    @overload
    def get(self, kind: str, name: str) -> Offer: ...

    def get(self, kind: str, name: str) -> Any:
        """The offer of a kind by its name.

        Raises PluginError for a name that nobody offers (with the likely name or the distribution to install), that a broken
        plugin might have offered, or that two plugins offer.
        """
        return self._find(kind, name)

    def _find(self, kind: str, name: str) -> Offer:
        if (kind, name) in self._clashes:
            raise self._clashes[kind, name]
        if (kind, name) not in self._offers:
            raise self.unknown(kind, name)
        return self._offers[kind, name]

    def unknown(self, kind: str, name: str) -> PluginError:
        """The error for a name that cannot be had."""
        of = KINDS[kind]
        known = self.names(kind)
        what = f"no {kind} is called '{name}'"
        suspect = self._suspect(of, name)
        if suspect is not None and suspect.problem is not None:
            return PluginError(f"{what}; a plugin that may offer it is broken: {suspect.problem.what}", mend=suspect.problem.mend)
        if hidden := next((p for p in self._left_out if _by_convention(p, of, name) or name in p.offers.get(kind, ())), None):
            mend = f"add '{hidden.name}' to {ALLOW_LIST}, or unset it"
            return PluginError(f"{what}; {hidden} is installed, but left out by {ALLOW_LIST}", mend=mend)
        if likely := did_you_mean(name, known, likeness=0.79):  # stride2 for stride4 is no slip of the finger
            return PluginError(what, mend=f"did you mean '{likely}'?")
        mends = [f"installed {of.plural}: {', '.join(known)}" if known else f"no {kind} is installed"]
        if re.fullmatch(r"[a-z][a-z0-9_]*", name):
            package = of.distribution(name)
            mends.append(f"if it is published as {package}: pip install {package}")
        return PluginError(what, mend="; ".join(mends))

    def _suspect(self, kind: Kind, name: str) -> Plugin | None:
        """The broken plugin that offers this name by convention, else any broken plugin of the kind by its name."""
        broken = [p for p in self.plugins if p.problem is not None and not p.offers]
        exact = [p for p in broken if _by_convention(p, kind, name)]
        alike = [p for p in broken if p.name.startswith(f"{kind.prefix}_")]
        return next(iter(exact + alike), None)

    def notify(self, hook: str, **values: Any) -> None:
        """Call an observing hook of every plugin. An observer that raises is reported as that plugin's problem and not called again."""
        for name, manager in list(self._observers.items()):
            try:
                getattr(manager.hook, hook)(**values)
            except Exception as error:
                plugin = self._plugins[name]
                self._plugins[name] = replace(plugin, problem=_chain(plugin.fault(f"failed in {hook}: {_words(error)}"), error))
                del self._observers[name]


def _by_convention(plugin: Plugin, kind: Kind, name: str) -> bool:
    """Whether a plugin is called as one that offers this name."""
    return plugin.name == f"{kind.prefix}_{name}" or plugin.distribution == kind.distribution(name)


def survey(allow: Sequence[str] | None = None) -> tuple[Plugin, ...]:
    """What is installed, from metadata alone: no plugin is imported, so what they offer is what their names promise.

    allow: as in `load`.
    """
    return tuple(sorted((plugin for plugin, _ in _installed(allow)[0]), key=lambda plugin: plugin.name))


def _installed(allow: Sequence[str] | None) -> tuple[list[tuple[Plugin, metadata.EntryPoint | None]], list[Plugin]]:
    """The plugins to load, in name order, with what is wrong with them so far; and those that MOBIPROX_PLUGINS leaves out."""
    restricted = allow is None and ALLOW_LIST in os.environ
    if restricted:
        allow = [name.strip() for name in os.environ[ALLOW_LIST].split(",") if name.strip()]
    found_entries = ((_record(entry), entry) for entry in metadata.entry_points(group=GROUP))
    entries = sorted(found_entries, key=lambda found: (found[0].name, found[0].distribution))
    found: dict[str, tuple[Plugin, metadata.EntryPoint | None]] = {}
    left_out = []
    for plugin, entry in entries:
        if allow is not None and plugin.name not in allow:
            left_out += [plugin] if restricted else []
        elif (other := found.get(plugin.name)) is not None:
            error = _clash(f"{other[0]} and {plugin} have the same name", other[0], plugin)
            name = f"{plugin.name} ({plugin.distribution})"
            found[name] = replace(plugin, name=name, offers={}, problem=error), entry
        else:
            found[plugin.name] = replace(plugin, problem=_foreign(plugin)), entry
    for name in allow or ():
        if name not in found:
            found[name] = Plugin(name, "", "", problem=_not_installed(name, {plugin.name for plugin, _ in entries})), None
    return list(found.values()), left_out


def _foreign(plugin: Plugin) -> PluginError | None:
    """What is wrong with a plugin that speaks none of our interfaces."""
    spoken = plugin.interfaces
    if not spoken or set(spoken) & set(hookspecs.INTERFACES):
        return None
    ours = " and ".join(map(str, hookspecs.INTERFACES))
    newer = spoken[0] > hookspecs.INTERFACES[-1]
    mend = "upgrade Mobiprox: pip install --upgrade mobiprox" if newer else _upgrade(plugin)
    return plugin.fault(f"speaks plugin interface {' and '.join(map(str, spoken))}, this Mobiprox speaks {ours}", mend)


def promised(name: str) -> dict[str, tuple[str, ...]]:
    """Kind -> what an entry point of this name offers by convention: ``approx_spline`` the technique ``spline``."""
    return {kind.name: (name.removeprefix(f"{kind.prefix}_"),) for kind in KINDS.values() if name.startswith(f"{kind.prefix}_")}


def _told(entry: metadata.EntryPoint) -> dict[str, tuple[str, ...]]:
    """What a plugin offers according to metadata: what its name promises, and what its distribution declares of the same module.

    A plugin that offers more than its name says declares it as ``[project.entry-points."mobiprox.KIND"]``, each name with the module.
    """
    offers = {kind: set(names) for kind, names in promised(entry.name).items()}
    for other in entry.dist.entry_points if entry.dist is not None else ():
        kind = other.group.removeprefix(f"{GROUP}.")
        if other.group != GROUP and other.value == entry.value and kind in KINDS:
            offers.setdefault(kind, set()).add(other.name)
    return {kind: tuple(sorted(offers[kind])) for kind in KINDS if kind in offers}


def load(allow: Sequence[str] | None = None) -> Registry:
    """Load the installed plugins.

    allow: names of entry points to load; by default those of the environment variable MOBIPROX_PLUGINS, else all.
    """
    found, left_out = _installed(allow)
    plugins = {plugin.name: plugin if plugin.problem is None else replace(plugin, offers={}) for plugin, _ in found}
    managers: dict[str, pluggy.PluginManager] = {}
    offered: dict[tuple[str, str], dict[str, Offer]] = {}
    for plugin, entry in found:
        if entry is None or plugin.problem is not None:
            continue
        try:
            manager, told = _register(plugin, entry)
            offers = _offers(plugin, manager)
        except PluginError as problem:
            plugins[plugin.name] = replace(plugin, offers={}, problem=problem)
            continue
        kinds = {kind: tuple(sorted(name for of, name in offers if of == kind)) for kind in KINDS}
        plugins[plugin.name] = replace(
            plugin,
            offers=MappingProxyType({kind: names for kind, names in kinds.items() if names}),
            hooks=tuple(sorted(caller.name for caller in manager.get_hookcallers(manager.get_plugin(plugin.name)) or ())),
            warnings=told,
        )
        managers[plugin.name] = manager
        for key, offer in offers.items():
            offered.setdefault(key, {})[plugin.name] = offer
    clashes: dict[tuple[str, str], PluginError] = {}
    for (kind, name), by in offered.items():
        if len(by) > 1:
            parties = [plugins[party] for party in by]
            error = _clash(f"{' and '.join(map(str, parties))} both offer the {kind} '{name}'", *parties)
            clashes[kind, name] = error
            plugins.update({p.name: replace(p, problem=p.problem or error) for p in parties})
    single = {key: next(iter(by.values())) for key, by in offered.items() if key not in clashes}
    return Registry(sorted(plugins.values(), key=lambda p: p.name), single, clashes, managers, left_out)


def _clash(what: str, *parties: Plugin) -> PluginError:
    return PluginError(what, mend=f"remove one of them: {_uninstall(*parties)}")


def _not_installed(name: str, installed: Iterable[str]) -> PluginError:
    likely = did_you_mean(name, installed)
    mend = f"did you mean '{likely}'?" if likely else f"installed: {', '.join(sorted(installed)) or 'none'}"
    return PluginError(f"{ALLOW_LIST} names '{name}', which is not installed", mend=mend)


class _Manager(pluggy.PluginManager):
    """One that looks for marks quickly: for those of hook specifications once, not once for every plugin, which is half of the loading."""

    _marks: ClassVar[dict[str, pluggy.HookspecOpts | None]] = {}

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(plugin, ModuleType) and not hasattr(getattr(plugin, name, None), f"{self.project_name}_impl"):
            return None  # pluggy would study each name of the module at length
        return super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> pluggy.HookspecOpts | None:
        if name not in self._marks:
            self._marks[name] = super().parse_hookspec_opts(module_or_class, name)
        return self._marks[name]


def _register(plugin: Plugin, entry: metadata.EntryPoint) -> tuple[pluggy.PluginManager, tuple[str, ...]]:
    """A manager with this plugin alone, so that whatever it objects to is this plugin's fault; and what it uses that will go.

    Raises PluginError.
    """
    try:
        module = entry.load()
    except (Exception, SystemExit) as error:
        raise plugin.fault(f"failed to load: {_words(error)}") from error
    manager = _Manager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            manager.register(module, plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise plugin.fault(_validation_words(error, manager), _upgrade(plugin)) from error
    if not manager.get_hookcallers(module):
        raise plugin.fault(
            "implements no hook", "mark its functions with @hookimpl of mobiprox_core.hookspecs, or remove it: " + _uninstall(plugin)
        )
    return manager, tuple(str(warning.message) for warning in told if issubclass(warning.category, hookspecs.Deprecated))


def _offers(plugin: Plugin, manager: pluggy.PluginManager) -> dict[tuple[str, str], Offer]:
    """(kind, name) -> offer, all that a plugin offers. Raises PluginError."""
    found: dict[tuple[str, str], Offer] = {}
    for kind in KINDS.values():
        try:
            offers = [offer for result in getattr(manager.hook, kind.hook)() for offer in result]
        except Exception as error:
            raise plugin.fault(f"failed in {kind.hook}: {_words(error)}") from error
        for offer in offers:
            lacking = [a for a, t in (("name", str), ("summary", str), ("options", Mapping)) if not isinstance(getattr(offer, a, None), t)]
            if lacking:
                raise plugin.fault(
                    f"offers a {kind.name} ({type(offer).__name__}) without a valid {' and '.join(lacking)}", _upgrade(plugin)
                )
            if (kind.name, offer.name) in found:
                raise plugin.fault(f"offers the {kind.name} '{offer.name}' twice", _upgrade(plugin))
            found[kind.name, offer.name] = offer
    return found


def _validation_words(error: pluggy.PluginValidationError, manager: pluggy.PluginManager) -> str:
    """What pluggy found wrong with a plugin, with the hook that was probably meant."""
    text = str(error.args[0] if error.args else error).strip()
    if match := re.search(r"unknown hook '(\w+)'", text):
        known = [name for name in vars(manager.hook) if name.startswith("mobiprox_") and getattr(manager.hook, name).has_spec()]
        likely = did_you_mean(match[1], known)
        return f"implements an unknown hook '{match[1]}'" + (f"; did it mean '{likely}'?" if likely else "")
    return f"has a hook that does not fit: {text.splitlines()[-1]}"


def _words(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ImportError) and text else f"{type(error).__name__}: {text}" if text else type(error).__name__


def _chain(error: PluginError, cause: BaseException) -> PluginError:
    error.__cause__ = cause
    return error


def _record(entry: metadata.EntryPoint) -> Plugin:
    """What a few lines of metadata say of an entry point: `metadata.metadata` would parse the readme that follows too."""
    about = "" if entry.dist is None else entry.dist.read_text("METADATA") or entry.dist.read_text("PKG-INFO") or ""
    lines = re.findall(r"^(Name|Version|Summary|Requires-Dist): *(.*)$", about.partition("\n\n")[0], re.MULTILINE)
    found = dict(lines)
    name, version, summary = (found.get(key, "") for key in ("Name", "Version", "Summary"))
    return Plugin(entry.name, name, version, summary, tuple(value for key, value in lines if key == "Requires-Dist"), _told(entry))


def _uninstall(*plugins: Plugin) -> str:
    return " or ".join(f"pip uninstall {p.distribution}" for p in plugins)


def _upgrade(plugin: Plugin) -> str:
    return f"upgrade or remove it: pip install --upgrade {plugin.distribution}, or pip uninstall {plugin.distribution}"
