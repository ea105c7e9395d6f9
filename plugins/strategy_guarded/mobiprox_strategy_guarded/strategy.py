"""A cascade whose thresholds keep a stated bound on the loss, and audits that notice when the world has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mobiprox_core.errors import UsageError
from mobiprox_core.gating import CLOSED, cheapest, checked, gates, known_agreement
from mobiprox_core.interfaces import Agreement, LevelCalibration, Observation, Options, Rerun

from .bounds import Promise

CONFIDENCE = 0.9
AUDIT = 0.05
GAIN = 0.005
NO_AUDIT = -1


class GuardedState(NamedTuple):
    """threshold: least confidence with which any cheap answer stands, besides its own level's. audited: the cheap answer that the
    exact network is asked about, or NO_AUDIT. draws: how many there were.
    """

    threshold: float
    audited: int = NO_AUDIT
    draws: int = 0


@dataclass(frozen=True, slots=True)
class GuardedStrategy:
    """first: where inputs begin. thresholds: per level, by risk control. bound: 0..1, the loss to hold.

    limit: the threshold from which so many inputs would run twice that the exact network alone is cheaper.
    """

    first: int
    thresholds: tuple[float, ...]
    bound: float
    audit: float
    gain: float
    limit: float = 1.0

    def start(self) -> GuardedState:
        return GuardedState(self.thresholds[self.first])

    def step(self, state: GuardedState, observation: Observation) -> tuple[GuardedState, int]:
        threshold, audited, draws = state
        if observation.rerun:
            found = 1.0 if audited not in (NO_AUDIT, observation.label) else 0.0
            return self._next(threshold, found / self.audit if found else 0.0, draws)
        if observation.level == 0:
            return self._next(threshold, 0.0, draws)
        if observation.confidence < max(threshold, self.thresholds[observation.level]):
            return GuardedState(threshold, NO_AUDIT, draws), Rerun(0)
        if drawn(draws) < self.audit:
            return GuardedState(threshold, observation.label, draws + 1), Rerun(0)
        return self._next(threshold, 0.0, draws + 1)

    def _next(self, threshold: float, loss: float, draws: int) -> tuple[GuardedState, int]:
        """After an input is done with: loss is an unbiased estimate of the one that it would have had without audits."""
        if self.audit and self.first:
            threshold = max(threshold + self.gain * (loss - self.bound), self.thresholds[self.first])
        return GuardedState(threshold, NO_AUDIT, draws), self.first if threshold <= self.limit else 0


def drawn(count: int) -> float:
    """The count-th number of a sequence that looks uniform in [0, 1): SplitMix64, so that a step stays pure and a phone draws alike."""
    z = (count + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ z >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return ((z ^ z >> 31) >> 11) / (1 << 53)


class Guarded:
    """Offers the strategy ``guarded``."""

    name = "guarded"
    summary = "a cheap level where it is sure enough to hold a stated bound on the loss, the exact network elsewhere"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "max_loss_pp": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 100,
                "description": "the bound, in percentage points of accuracy below the exact network",
            },
            "promise": {
                "type": "string",
                "enum": ["probable", "expected"],
                "default": "probable",
                "description": "probable: holds with the stated confidence; expected: holds on the average over calibrations",
            },
            "confidence": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": CONFIDENCE,
                "description": "how sure the promise 'probable' is",
            },
            "unit": {
                "type": "string",
                "enum": ["group", "sample"],
                "default": "group",
                "description": "what is drawn alike: groups (users, speakers) where the data have them, or samples",
            },
            "level": {
                "type": ["integer", "null"],
                "minimum": 1,
                "default": None,
                "description": "the level to begin with; the one with the least cost to expect if left out",
            },
            "audit": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": AUDIT,
                "description": "share of cheap answers on which the exact network is asked too",
            },
            "gain": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": GAIN,
                "description": "how much audits move the threshold",
            },
        },
        "required": ["max_loss_pp"],
    }

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> GuardedStrategy:
        """Raises UsageError where there are too few calibration units for the bound; the message says which bound they allow."""
        bound, level = options["max_loss_pp"] / 100, options.get("level")
        audit, gain = float(options.get("audit", AUDIT)), float(options.get("gain", GAIN))
        if len(levels) == 1:
            return GuardedStrategy(0, (0.0,), bound, audit, gain)
        tried = len(levels) - 1 if level is None else 1
        promise = Promise(bound, options.get("promise", "probable"), 1 - float(options.get("confidence", CONFIDENCE)), tried)
        by_group = options.get("unit", "group") == "group"
        known = known_agreement(1, levels[1])
        _check_size(promise, known.groups if by_group and known.groups else known.samples, by_group and known.groups > 0)

        def admits(agreement: Agreement, k: int) -> bool:
            if by_group and agreement.groups:
                return promise.kept(agreement.group_differing[k], agreement.groups, binary=False)
            return promise.kept(agreement.differing[k], agreement.samples, binary=True)

        thresholds = gates(levels, admits)
        if level is not None:
            chosen = checked(self.name, level, levels)
            thresholds = tuple(t if n in (0, chosen) else CLOSED for n, t in enumerate(thresholds))
        first, _ = cheapest(levels, thresholds)
        return GuardedStrategy(first, thresholds, bound, audit, gain, _limit(levels[first]))


def _limit(level: LevelCalibration) -> float:
    """The highest threshold with which a level saves anything: it must accept a larger share of inputs than one run of it costs."""
    own = level.agreement
    saving = [] if own is None else [t for t, share in zip(own.thresholds, own.accepted, strict=True) if share > level.relative_cost]
    return max(saving, default=1.0)


def _check_size(promise: Promise, units: int, groups: bool) -> None:
    smallest = promise.smallest(units)
    if promise.bound >= smallest:
        return
    what = "groups (users, speakers, ...)" if groups else "samples"
    sure = f" at {1 - promise.doubt:.0%} confidence" if promise.kind == "probable" else ""
    over = f" over {promise.levels} levels" if promise.levels > 1 else ""
    ways = [f"state max_loss_pp: {100 * smallest + 0.05:.1f} or more", f"calibrate on at least {promise.units()} {what}"]
    if promise.levels > 1:
        ways.append("name one 'level'")
    if promise.kind == "probable":
        ways.append("ask for 'promise: expected'")
    if groups:
        ways.append("set 'unit: sample' if samples are drawn independently")
    raise UsageError(
        f"strategy guarded: {units} {what} of calibration data can promise no loss below {100 * smallest:.2g} points{sure}{over};"
        f" {100 * promise.bound:g} is asked for",
        mend=", or ".join(ways),
    )
