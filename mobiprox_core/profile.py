"""The profile: what every setting of every operator saves and changes, measured one at a time on the device.

Latency first, so that settings that do not pay are spared the rest. Then the change of the network's output: one exact run leaves
all activations in the arena, and each setting runs only the network from its operator on. Operators go from last to first, so that
whatever an operator reads is still exact when its turn comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from .adaptation import probabilities
from .batches import filled
from .configuration import EXACT, EXACT_CONFIGURATION, KnobSpace, OpId, Setting
from .errors import InfeasibleSetting
from .interfaces import OperatorProfile, Profile, Progress, ProgressSink, Runner, SettingProfile
from .lab import Lab, median_and_ci, scores, side_by_side
from .ledger import Journal
from .selection import evenly

if TYPE_CHECKING:
    from .interfaces import Floats
    from .plan import ExecutionPlan
    from .resolve import Resolved

T = TypeVar("T")

PAYS = 0.95
"""A setting takes at most this share of its operator's exact time, or it is dropped (DESIGN.md D5)."""

MOST_CONSTANTS = 1_500_000_000
"""Bytes of packed weights in one plan; beyond that operators are profiled in several plans."""

MOST_COMBINATIONS = 12
"""Composed settings tried per operator."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. samples: tuning inputs at most; setting_s: for each latency; output_s: for all output changes of a round."""

    samples: int = 128
    setting_s: float = 0.04
    output_s: float = 40.0


Measured = Mapping[OpId, tuple[SettingProfile, ...]]
"""Exact first. A setting that does not pay has no divergence (NaN)."""

Latency = tuple[float, float]
"""Median and 95 % confidence half-width, in milliseconds."""

Change = tuple[float, float | None]
"""Mean KL divergence in nats, and accuracy lost in percentage points (None without labels)."""


def profile(resolved: Resolved, lab: Lab, journal: Journal, effort: Effort, progress: ProgressSink) -> Profile:
    """Measure all single settings, then the combinations that promise something."""
    profiler = _Profiler(resolved, lab, journal, effort, progress)
    single = profiler.measure("settings", resolved.space)
    composed = profiler.measure("combinations", combined(single, resolved))
    operators = tuple(_joined(name, single[name], composed.get(name, ())) for name in single)
    return Profile(operators, profiler.exact_ms(), len(profiler.inputs), resolved.couplings)


def combined(single: Measured, resolved: Resolved) -> KnobSpace:
    """Pairs, triples, ... of settings of different slots, of those that pay and that no other of their slot dominates.

    Of an operator's combinations those stay that no other, and no single setting, dominates by prediction: latencies multiply,
    divergences add.
    """
    offered: dict[OpId, tuple[Setting, ...]] = {}
    for name, (exact, *others) in single.items():
        slots: dict[str, list[SettingProfile]] = {}
        for profiled in others:
            if pays(profiled, exact):
                (knobs,) = profiled.setting
                slots.setdefault(resolved.techniques[knobs.technique].slot(knobs), []).append(profiled)
        best = [_undominated([((s.latency_ms, s.divergence), s) for s in settings]) for settings in slots.values()]
        predicted = [
            ((math.prod(s.latency_ms / exact.latency_ms for s in parts), sum(s.divergence for s in parts)), parts)
            for count in range(1, len(best) + 1)
            for chosen in combinations(best, count)
            for parts in product(*chosen)
        ]
        composed = [parts for parts in _undominated(predicted) if len(parts) > 1]
        offered[name] = tuple(Setting(tuple(k for s in parts for k in s.setting)) for parts in evenly(composed, MOST_COMBINATIONS))
    return KnobSpace(offered)


def pays(profiled: SettingProfile, exact: SettingProfile) -> bool:
    return profiled.latency_ms <= PAYS * exact.latency_ms


def _undominated(scored: Iterable[tuple[tuple[float, float], T]]) -> list[T]:
    """The items whose pair of scores no other's beats, by rising first score."""
    kept: list[T] = []
    least = math.inf
    for (_, second), item in sorted(scored, key=lambda entry: entry[0]):
        if second < least:
            kept.append(item)
            least = second
    return kept


def _joined(name: OpId, single: Sequence[SettingProfile], composed: Sequence[SettingProfile]) -> OperatorProfile:
    """One operator from both rounds; latencies of the second round are scaled so that its exact one is that of the first."""
    exact = single[0]
    scale = exact.latency_ms / composed[0].latency_ms if composed else 1.0
    again = [replace(s, latency_ms=s.latency_ms * scale, latency_ci_ms=s.latency_ci_ms * scale) for s in composed[1:]]
    every = [*single[1:], *again]
    kept = [s for s in every if pays(s, exact) and math.isfinite(s.divergence)]
    return OperatorProfile(name, (exact, *kept), tuple(s for s in every if s not in kept))


class _Profiler:
    def __init__(self, resolved: Resolved, lab: Lab, journal: Journal, effort: Effort, progress: ProgressSink) -> None:
        self.resolved = resolved
        self.lab = lab
        self.journal = journal
        self.effort = effort
        self.progress = progress
        self.done = self.total = 0
        self.places = {op.name: place for place, op in enumerate(resolved.graph.operators)}
        self.groups = {name: group for group in resolved.couplings for name in group}

    def exact_ms(self) -> float:
        """Latency of the whole exact network."""
        known = self.journal.recall("exact")
        if known is None:
            known = self.journal.note("exact", value=median_and_ci(self.lab.time([EXACT_CONFIGURATION], 0.5)[0])[0])
        return float(known)

    def measure(self, title: str, space: KnobSpace) -> Measured:
        """Latencies of a space, then the output changes of what pays."""
        self.done, self.total = 0, 2 * len(space)
        timed: dict[OpId, dict[Setting, Latency]] = {}
        for chunk in self.chunks(space):
            timed |= self.latencies(title, chunk)
        paying = KnobSpace({name: tuple(s for s, (ms, _) in row.items() if ms <= PAYS * row[EXACT][0]) for name, row in timed.items()})
        self.done, self.total = len(space), len(space) + len(paying)
        changes: dict[tuple[OpId, Setting], Change] = {}
        for chunk in self.chunks(paying):
            changes |= self.changes(title, chunk)
        return {
            name: tuple(
                SettingProfile(setting, ms, ci, *changes.get((name, setting), _unknown(setting))) for setting, (ms, ci) in row.items()
            )
            for name, row in timed.items()
        }

    def chunks(self, space: KnobSpace) -> Iterator[KnobSpace]:
        """The space in parts whose packed weights fit one plan; at least one operator each."""
        part: dict[OpId, tuple[Setting, ...]] = {}
        size = 0
        for name in space:
            weight = self.resolved.graph[name].constants.get("weight")
            own = 0 if weight is None else weight.nbytes * len(space[name])
            if part and size + own > MOST_CONSTANTS:
                yield KnobSpace(part)
                part, size = {}, 0
            part[name] = space[name]
            size += own
        if part:
            yield KnobSpace(part)

    def load(self, space: KnobSpace, batch: int, *, keep: bool) -> Runner:
        """A runner with a variant for every setting that is feasible."""
        self.lab.fit(space, self.progress)

        def plan(settings: Mapping[OpId, Sequence[Setting]]) -> ExecutionPlan:
            return self.lab.plan(batch, settings, keep_activations=keep)

        def is_feasible(name: OpId, setting: Setting) -> bool:
            try:
                plan({name: [setting]})
            except InfeasibleSetting:
                return False
            return True

        try:
            whole = plan(space.settings)
        except InfeasibleSetting:  # which ones, only trying each can tell
            whole = plan({name: [s for s in space[name] if is_feasible(name, s)] for name in space})
        return self.lab.device.load(whole)

    def step(self, count: int, note: str) -> None:
        self.done += count
        self.progress(Progress("profile", self.done, self.total, note))

    # -- latency

    def latencies(self, title: str, space: KnobSpace) -> dict[OpId, dict[Setting, Latency]]:
        """Of every feasible setting, exact first."""
        found: dict[OpId, dict[Setting, Latency]] = {}
        with _OnDemand(lambda: self.load(space, self.lab.single, keep=False)) as bench:
            for name in space:
                spelt = list(map(str, space[name]))
                row = self.journal.recall("latency", name, spelt)
                if row is None:
                    row = self.journal.note("latency", name, spelt, value=self.time(bench.runner, name))
                found[name] = {s: (row[str(s)][0], row[str(s)][1]) for s in space[name] if str(s) in row}
                self.step(len(spelt) - 1, f"{title}: latency of {name}")
        return found

    def time(self, runner: Runner, name: OpId) -> dict[str, Latency]:
        """Of all variants of an operator, interleaved; by spelt setting. Those that differ in weights only are timed as one."""
        place = self.places[name]
        variants = runner.plan.operators[place].variants
        alike = {number: variant.geometry or str(number) for number, variant in enumerate(variants)}
        first = {geometry: number for number, geometry in reversed(alike.items())}
        numbers = sorted(first.values())
        choices = [_variants(runner.plan, {place: number}) for number in numbers]
        runner.run(self.lab.first(self.lab.single))
        samples = runner.time([place], choices, self.effort.setting_s * len(choices))
        timed = dict(zip(numbers, side_by_side(samples), strict=True))
        return {str(variant.setting): timed[first[alike[number]]] for number, variant in enumerate(variants)}

    # -- change of the output

    @cached_property
    def inputs(self) -> npt.NDArray[np.int64]:
        """Which tuning samples are looked at: evenly spread, none that was fitted to, and as many batches as the time allows."""
        spread = np.array(evenly(self.resolved.unfitted.tolist(), self.effort.samples), dtype=np.int64)
        batches = self.journal.recall("batches") or 1
        most = -(-len(spread) // self.lab.many)
        return np.concatenate([spread[start::most] for start in range(min(batches, most))])

    def decide_batches(self, runner: Runner, space: KnobSpace) -> None:
        """How many batches the time allows, from the time of one exact run: noted once, so that a resumed run goes on with as many."""
        if self.journal.recall("batches") is not None:
            return
        batch = self.lab.first(self.lab.many)
        runner.run(batch)
        begin = perf_counter()
        runner.run(batch)
        once = perf_counter() - begin
        macs = np.array([self.resolved.macs[op.name] for op in self.resolved.graph.operators], dtype=np.float64) + 1
        suffix = np.cumsum(macs[::-1])[::-1] / macs.sum()
        cost = once * sum((len(space[name]) - 1) * suffix[self.places[name]] for name in space)
        self.journal.note("batches", value=max(1, int(self.effort.output_s / cost)))

    def changes(self, title: str, space: KnobSpace) -> dict[tuple[OpId, Setting], Change]:
        """Of every setting, over all samples."""
        sums: dict[tuple[OpId, Setting], npt.NDArray[np.float64]] = {}
        with _OnDemand(lambda: self.load(space, self.lab.many, keep=True)) as bench:
            if len(space) and self.journal.recall("batches") is None:
                self.decide_batches(bench.runner, space)
            for start in range(0, len(self.inputs), self.lab.many):
                part = self.inputs[start : start + self.lab.many]
                exact: Floats | None = None
                for name in sorted(space, key=lambda name: -self.places[name]):
                    for setting, members in self.led(name, space):
                        what = ("change", name, str(setting), list(map(str, part)))
                        value = self.journal.recall(*what)
                        if value is None:
                            exact = self.exact(bench.runner, part) if exact is None else exact
                            value = self.journal.note(*what, value=self.change(bench.runner, members, setting, part, exact))
                        for member in members:
                            before = sums.get((member, setting), np.zeros(2))
                            sums[member, setting] = before + np.array([np.nan if v is None else v for v in value]) / len(members)
                    if start == 0:
                        self.step(len(space[name]) - 1, f"{title}: output under {name}")
        labelled = self.resolved.tune.labels is not None
        count = len(self.inputs)
        return {key: (float(kl) / count, 100 * float(lost) / count if labelled else None) for key, (kl, lost) in sums.items()}

    def led(self, name: OpId, space: KnobSpace) -> Iterator[tuple[Setting, tuple[OpId, ...]]]:
        """Settings to measure at this operator, with all operators that take them: of coupled operators the first leads."""
        group = self.groups.get(name, (name,))
        if name == min(group, key=self.places.__getitem__):
            yield from ((setting, group) for setting in space[name][1:] if all(setting in space[member] for member in group))

    def exact(self, runner: Runner, part: npt.NDArray[np.int64]) -> Floats:
        """The exact output, whose activations stay in the arena."""
        runner.select(_variants(runner.plan, {}))
        return scores(runner.run(filled(self.resolved.tune.inputs[part], self.lab.many)))[: len(part)].copy()

    def change(
        self, runner: Runner, members: Sequence[OpId], setting: Setting, part: npt.NDArray[np.int64], exact: Floats
    ) -> tuple[float | None, float | None]:
        """Summed divergence, and correct predictions lost, of one batch; None where the output is not finite."""
        places = [self.places[name] for name in members]
        numbers = {p: [v.setting for v in runner.plan.operators[p].variants].index(setting) for p in places}
        runner.select(_variants(runner.plan, numbers))
        output = scores(runner.resume(min(places)))[: len(part)]
        if not np.isfinite(output).all():
            return None, None
        labels = self.resolved.tune.labels
        lost = 0 if labels is None else int(np.sum(exact.argmax(1) == labels[part]) - np.sum(output.argmax(1) == labels[part]))
        return divergence(exact, output, self.resolved.already_softmax), lost


def divergence(exact: Floats, output: Floats, already_softmax: bool = False) -> float:
    """Sum over samples of KL(exact || output) of the class distributions, in nats; outputs are [N, K]."""
    p, q = (np.maximum(probabilities(scores, already_softmax), 1e-30) for scores in (exact, output))
    return max(0.0, float(np.sum(p * (np.log(p) - np.log(q)))))


def _unknown(setting: Setting) -> Change:
    """What an exact setting changes; or one that was not looked at."""
    return (math.nan, None) if setting else (0.0, 0.0)


def _variants(plan: ExecutionPlan, chosen: Mapping[int, int]) -> list[int]:
    return [chosen.get(place, 0) for place in range(len(plan.operators))]


class _OnDemand:
    """A runner that is loaded when it is first needed: where all is in the journal, never."""

    def __init__(self, load: Callable[[], Runner]) -> None:
        self._load = load
        self._runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            self._runner = self._load()
        return self._runner

    def __enter__(self) -> _OnDemand:
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.close()


# ------------------------------------------------------------------------------------------------------------------------- files


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """As `profile.json` holds it; settings that were dropped are kept for the reader."""

    def row(s: SettingProfile) -> dict[str, Any]:
        return {
            "setting": str(s.setting),
            "latency_ms": s.latency_ms,
            "latency_ci_ms": s.latency_ci_ms,
            "divergence": s.divergence if math.isfinite(s.divergence) else None,
            "loss_pp": s.loss_pp,
        }

    return {
        "schema": 1,
        "latency_ms": profile.latency_ms,
        "samples": profile.samples,
        "couplings": [list(group) for group in profile.couplings],
        "operators": [
            {"name": o.name, "settings": [row(s) for s in o.settings], "dropped": [row(s) for s in o.dropped]} for o in profile.operators
        ],
    }


def profile_from_json(value: Mapping[str, Any]) -> Profile:
    """The inverse of `profile_to_json`."""

    def row(s: Mapping[str, Any]) -> SettingProfile:
        kl = math.nan if s["divergence"] is None else s["divergence"]
        return SettingProfile(Setting.parse(s["setting"]), s["latency_ms"], s["latency_ci_ms"], kl, s["loss_pp"])

    return Profile(
        operators=tuple(
            OperatorProfile(o["name"], tuple(map(row, o["settings"])), tuple(map(row, o["dropped"]))) for o in value["operators"]
        ),
        latency_ms=value["latency_ms"],
        samples=value["samples"],
        couplings=tuple(tuple(group) for group in value["couplings"]),
    )
