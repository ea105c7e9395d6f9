"""A configuration in sentences, with what each setting was measured to save and to change.

The words are the technique's: its optional method ``explain(setting)`` gives what follows the operator's name ("skips every 2nd row
from row 1"); without one its `knobs` are read out. The numbers are the profile's, of each setting alone, the rest of the network exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .configuration import Configuration, KnobSetting, OpId, Setting
from .errors import BundleError, MobiproxError, UsageError

if TYPE_CHECKING:
    from .interfaces import Technique
    from .plugins import Registry


@dataclass(frozen=True, slots=True)
class Effect:
    """What a setting was measured to do alone. loss: in the unit of the experiment's measure, None if not measured; dropped: it does not pay here."""

    exact_ms: float
    latency_ms: float
    divergence: float
    loss: float | None
    dropped: bool

    def __str__(self) -> str:
        faster = self.exact_ms / self.latency_ms
        words = [f"{self.exact_ms:.4g} ms to {self.latency_ms:.4g} ms ({faster:.2f}x)", f"divergence {self.divergence:.3g} nats"]
        words += [] if self.loss is None else [f"loss {self.loss:+.2f}"]
        return ", ".join(words) + (", does not pay" if self.dropped else "")


@dataclass(frozen=True, slots=True)
class Explained:
    """One operator. sentences: one for each technique; effects: spelt setting -> what it was measured to do alone."""

    operator: OpId
    setting: str
    sentences: tuple[str, ...]
    effects: Mapping[str, Effect]

    def to_json(self) -> dict[str, Any]:
        effects = {setting: asdict(effect) for setting, effect in self.effects.items()}
        return {"operator": self.operator, "setting": self.setting, "sentences": list(self.sentences), "effects": effects}


def sentence(technique: Technique | None, setting: KnobSetting, operator: OpId) -> str:
    """What one setting does to an operator. technique: None where it is not installed; then the setting is spelt out."""
    if technique is None:
        return f"{operator} runs with {setting}, of a technique that is not installed"
    if (own := getattr(technique, "explain", None)) is not None:
        return f"{operator} {own(setting)}"
    knobs = [f"{knob} {value}: {technique.knobs[knob]}" if knob in technique.knobs else f"{knob} {value}" for knob, value in setting.params]
    return f"{operator} runs with {technique.name.replace('_', ' ')}" + (f" ({'; '.join(knobs)})" if knobs else "")


def explain(configuration: Configuration, registry: Registry, profile: Mapping[str, Any] | None = None) -> tuple[Explained, ...]:
    """Every operator that is approximated. profile: the content of a run's ``profile.json``."""
    measured = {} if profile is None else _effects(profile)
    order = {operator: index for index, operator in enumerate(dict.fromkeys(operator for operator, _ in measured))}
    known = registry.names("technique")
    found = []
    for operator, setting in sorted(configuration.settings.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        sentences = tuple(sentence(registry.get("technique", k.technique) if k.technique in known else None, k, operator) for k in setting)
        asked = (setting, *(Setting((knob,)) for knob in setting)) if (operator, str(setting)) not in measured else (setting,)
        effects = {str(one): measured[operator, str(one)] for one in asked if (operator, str(one)) in measured}
        found.append(Explained(operator, str(setting), sentences, effects))
    return tuple(found)


def _effects(profile: Mapping[str, Any]) -> dict[tuple[OpId, str], Effect]:
    effects = {}
    for operator in profile["operators"]:
        exact = operator["settings"][0]["latency_ms"]
        for dropped, settings in ((False, operator["settings"]), (True, operator.get("dropped", ()))):
            for one in settings:
                effect = Effect(exact, one["latency_ms"], one["divergence"], one.get("loss"), dropped)
                effects[operator["name"], str(Setting.parse(one["setting"]))] = effect
    return effects


# ------------------------------------------------------------------------------------------------------------- what is to be explained


def configurations(target: str, level: int | None = None) -> tuple[dict[str, Configuration], Mapping[str, Any] | None]:
    """Title -> configuration of a bundle or folder of results (every level, or one), a JSON file, or text; and the profile beside it.

    Text is ``OPERATOR: SETTING; OPERATOR: SETTING``. Raises UsageError or BundleError.
    """
    path = Path(target)
    if path.is_dir():
        return _of_bundle(path, level)
    if level is not None:
        raise UsageError("only bundles have levels", where="--level", mend="leave it out")
    if path.is_file():
        value = _json(path)
        settings = value.get("settings", value)
        if not isinstance(settings, Mapping) or not all(isinstance(text, str) for text in settings.values()):
            raise UsageError("is no configuration", where=str(path), mend='write {"conv1": "perforation(axis=rows, offset=1, stride=2)"}')
        return {path.name: _parsed(settings, str(path))}, None
    parts = [part for part in target.split(";") if part.strip()]
    pairs = [re.fullmatch(r"\s*(.+?)\s*:\s*([^:]+?)\s*", part) for part in parts]
    if not pairs or None in pairs:
        mend = "give a bundle, a JSON file, or text such as 'conv1: perforation(axis=rows, offset=1, stride=2); conv2: fp16'"
        raise UsageError(f"'{target}' is no bundle, no file and no configuration", mend=mend)
    return {target: _parsed({pair[1]: pair[2] for pair in pairs if pair is not None}, "the configuration")}, None


def _parsed(settings: Mapping[str, str], where: str) -> Configuration:
    try:
        return Configuration.from_json(settings)
    except UsageError as error:
        error.where = where
        raise


def _of_bundle(folder: Path, level: int | None) -> tuple[dict[str, Configuration], Mapping[str, Any] | None]:
    bundle = folder / "bundle" if (folder / "bundle" / "bundle.json").is_file() else folder
    value = _json(bundle / "bundle.json")
    try:
        levels = {int(entry["level"]): _parsed(entry["settings"], str(bundle / "bundle.json")) for entry in value["levels"]}
    except (KeyError, TypeError, ValueError, AttributeError, MobiproxError) as error:
        raise BundleError(f"its levels cannot be read: {error}", where=str(bundle / "bundle.json"), mend="make the bundle again") from error
    if level is not None and level not in levels:
        raise UsageError(f"there is no level {level}", where="--level", mend=f"the bundle has levels 0 to {max(levels, default=0)}")
    beside = bundle.parent / "profile.json"
    chosen = levels if level is None else {level: levels[level]}
    return {f"level {number}": configuration for number, configuration in chosen.items()}, _json(beside) if beside.is_file() else None


def read_profile(path: Path) -> Mapping[str, Any]:
    """The content of a ``profile.json``. Raises UsageError."""
    value = _json(path)
    try:
        _effects(value)
    except (KeyError, TypeError, IndexError, AttributeError, MobiproxError) as error:
        raise UsageError("is no profile", where=str(path), mend="give the profile.json of a folder of results") from error
    return value


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), mend="give a folder of results, or its bundle") from error
    except ValueError as error:
        raise UsageError(f"is no JSON: {error}", where=str(path), mend="write the file again") from error
    if not isinstance(value, Mapping):
        raise UsageError("is no JSON object", where=str(path))
    return value
