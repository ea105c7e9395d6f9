"""Techniques that pay more together than alone: what one operator stores in another form, its neighbours need not turn back.

A profile measures one setting at a time, between exact neighbours, so it charges such a setting with conversions that disappear where the
neighbours take it too. No sum over operators shows that. So for every technique that many operators offer, one configuration is timed in
which all of them take it; where that saves clearly more than the sum says, each candidate is proposed once more with all operators under
that technique.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .configuration import EXACT_CONFIGURATION, Configuration, OpId, Setting
from .interfaces import Candidate

if TYPE_CHECKING:
    from .interfaces import OperatorProfile, Profile, SettingProfile

MANY = 0.5
"""A technique is looked at that at least this share of the operators offer."""

CLEARLY = 1.25
"""So many times what the sum over operators says must be saved together."""

LEAST = 0.05
"""And so much more, relative to the exact network's latency: less is within what sums are wrong by."""


def widespread(profile: Profile) -> dict[str, Configuration]:
    """Technique -> all operators under it, as near to exact as it allows; of techniques that many operators offer alone."""
    free = list(_free(profile))
    found = {}
    for technique in sorted({knobs.technique for o in free for s in o.settings for knobs in s.setting}):
        settings = under(profile, EXACT_CONFIGURATION, technique).settings
        if len(settings) >= MANY * len(free):
            found[technique] = Configuration(settings)
    return found


def beyond(profile: Profile, configuration: Configuration, exact_ms: float, latency_ms: float) -> float:
    """Milliseconds that a configuration saves beyond the profile's sum; 0 where that is not clear. exact_ms, latency_ms: measured side by side."""
    told, saved = _sums(profile, configuration)[0], (1 - latency_ms / exact_ms) * profile.latency_ms
    return saved - told if saved > CLEARLY * max(told, 0.0) and saved - told > LEAST * profile.latency_ms else 0.0


def under(profile: Profile, configuration: Configuration, technique: str) -> Configuration:
    """The configuration with all operators under a technique that offer it: by the setting of least divergence that is no slower.

    An operator whose settings with the technique are all slower takes the fastest of them, an exact one the nearest that is the technique
    alone; coupled operators stay as they are.
    """
    settings: dict[OpId, Setting] = dict(configuration.settings)
    for operator in _free(profile):
        known = {s.setting: s for s in operator.settings}
        now = known.get(configuration[operator.name])
        offered = [s for s in operator.settings if any(knobs.technique == technique for knobs in s.setting)]
        if now is None or now in offered or not offered:
            continue
        as_fast = [s for s in offered if s.latency_ms <= now.latency_ms]
        if not now.setting:
            chosen = _nearest([s for s in offered if all(knobs.technique == technique for knobs in s.setting)] or offered)
        else:
            chosen = _nearest(as_fast) if as_fast else min(offered, key=lambda s: s.latency_ms)
        settings[operator.name] = chosen.setting
    return Configuration(settings)


def twins(profile: Profile, candidates: Sequence[Candidate], techniques: Mapping[str, float]) -> tuple[Candidate, ...]:
    """The candidates, and each again under every technique; by rising divergence, none twice. techniques: with milliseconds saved beyond the sum."""
    found = {c.configuration: c for c in candidates}
    for technique, more in techniques.items():
        for candidate in (Candidate(EXACT_CONFIGURATION, profile.latency_ms, 0.0), *candidates):
            configuration = under(profile, candidate.configuration, technique)
            saving, divergence = _sums(profile, configuration)
            found.setdefault(configuration, Candidate(configuration, profile.latency_ms - saving - more, divergence))
    return tuple(sorted(found.values(), key=lambda c: c.divergence))


def _nearest(settings: Iterable[SettingProfile]) -> SettingProfile:
    return min(settings, key=lambda s: s.divergence)


def _free(profile: Profile) -> Iterator[OperatorProfile]:
    coupled = {name for group in profile.couplings for name in group}
    return (o for o in profile.operators if o.name not in coupled and len(o.settings) > 1)


def _sums(profile: Profile, configuration: Configuration) -> tuple[float, float]:
    """Milliseconds saved and divergence, added up over operators."""
    saving = divergence = 0.0
    for operator in profile.operators:
        own = next(s for s in operator.settings if s.setting == configuration[operator.name])
        saving += operator.settings[0].latency_ms - own.latency_ms
        divergence += own.divergence
    return saving, divergence
