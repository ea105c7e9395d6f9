"""What is chosen: knob settings, and one setting per operator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .errors import UsageError

OpId = str
Knob = int | str


@dataclass(frozen=True, slots=True, order=True)
class KnobSetting:
    """One point of a technique's knob space, e.g. ``perforation(axis=rows, offset=0, stride=2)``.

    params: (knob, value) pairs, sorted by knob.
    """

    technique: str
    params: tuple[tuple[str, Knob], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", tuple(sorted(self.params)))

    @classmethod
    def of(cls, technique: str, **knobs: Knob) -> KnobSetting:
        return cls(technique, tuple(knobs.items()))

    def __getitem__(self, knob: str) -> Knob:
        return dict(self.params)[knob]

    def __str__(self) -> str:
        if not self.params:
            return self.technique
        return f"{self.technique}({', '.join(f'{knob}={value}' for knob, value in self.params)})"


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """The knob settings of one operator, together: none (exact), one, or several that compose.

    Spelt ``exact``, ``fp16``, ``filter_sampling(offset=0, stride=2) + fp16``.
    """

    parts: tuple[KnobSetting, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(sorted(self.parts)))

    @classmethod
    def of(cls, technique: str, **knobs: Knob) -> Setting:
        return cls((KnobSetting.of(technique, **knobs),))

    @classmethod
    def parse(cls, text: str) -> Setting:
        """The inverse of ``str``; knobs in any order, spaces free.

        Raises UsageError for text that is not a setting. Whether technique and knobs exist is not asked here.
        """
        if text.strip() == "exact":
            return EXACT
        return cls(tuple(_parse_part(part) for part in text.split("+")))

    def __add__(self, other: Setting) -> Setting:
        return Setting(self.parts + other.parts)

    def __iter__(self) -> Iterator[KnobSetting]:
        return iter(self.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts)) or "exact"


EXACT = Setting()

_PART = re.compile(r"\s*(?P<technique>\w+)\s*(?:\((?P<knobs>[^()]*)\))?\s*")
_KNOB = re.compile(r"\s*(?P<knob>\w+)\s*=\s*(?P<value>[\w.-]+)\s*")


def _parse_part(text: str) -> KnobSetting:
    part = _PART.fullmatch(text)
    knobs = [_KNOB.fullmatch(knob) for knob in (part["knobs"] or "").split(",") if knob.strip()] if part else []
    if part is None or None in knobs:
        raise UsageError(
            f"'{text.strip()}' is not a knob setting",
            mend="write it like 'perforation(axis=rows, offset=1, stride=2)'; join several with ' + '",
        )
    pairs = [(knob["knob"], knob["value"]) for knob in knobs if knob is not None]
    return KnobSetting(part["technique"], tuple((k, int(v) if re.fullmatch(r"-?\d+", v) else v) for k, v in pairs))


@dataclass(frozen=True, slots=True)
class Configuration:
    """One setting per operator; an operator left out runs exactly."""

    settings: Mapping[OpId, Setting]

    def __post_init__(self) -> None:
        chosen = {op: s for op, s in sorted(self.settings.items()) if s != EXACT}
        object.__setattr__(self, "settings", MappingProxyType(chosen))

    def __getitem__(self, op: OpId) -> Setting:
        return self.settings.get(op, EXACT)

    def __hash__(self) -> int:
        return hash(tuple(self.settings.items()))

    def to_json(self) -> dict[str, str]:
        return {op: str(setting) for op, setting in self.settings.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> Configuration:
        return cls({op: Setting.parse(text) for op, text in value.items()})


EXACT_CONFIGURATION = Configuration({})


@dataclass(frozen=True, slots=True)
class KnobSpace:
    """The settings on offer for every operator, EXACT first; operators without a choice are left out."""

    settings: Mapping[OpId, tuple[Setting, ...]]

    def __post_init__(self) -> None:
        offered = {op: _exact_first(s) for op, s in self.settings.items() if set(s) - {EXACT}}
        object.__setattr__(self, "settings", MappingProxyType(offered))

    def __getitem__(self, op: OpId) -> tuple[Setting, ...]:
        return self.settings.get(op, (EXACT,))

    def __iter__(self) -> Iterator[OpId]:
        return iter(self.settings)

    def __len__(self) -> int:
        """How many (operator, setting) pairs there are, exact ones not counted."""
        return sum(len(s) - 1 for s in self.settings.values())


def _exact_first(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    return (EXACT, *dict.fromkeys(s for s in settings if s != EXACT))
