"""The profile: what every setting of every operator saves and changes, measured one at a time on the device.

Latency first, so that settings that do not pay are spared the rest. Then the change of the network's output: one exact run leaves
all activations in the arena, and each setting runs only the network from its operator on. Operators go from last to first, so that
whatever an operator reads is still exact when its turn comes.

Samples come in batches. After each one, settings are given up that need no more of them (`hopeless`), so that the others get their
samples sooner.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, product
from pathlib import Path
from statistics import NormalDist
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from .adaptation import probabilities
from .batches import filled
from .configuration import EXACT, EXACT_CONFIGURATION, KnobSetting, KnobSpace, OpId, Setting
from .errors import InfeasibleSetting
from .interfaces import Job, OperatorProfile, Profile, Progress, ProgressSink, Runner, SettingProfile
from .lab import Lab, median_and_ci, scores, undisturbed
from .ledger import Journal, Json
from .measure import pack, unpack
from .measurement import Loss
from .qos import Judge, Statistics
from .selection import evenly

if TYPE_CHECKING:
    from .interfaces import Floats, Technique, Workforce
    from .plan import DeviceInfo, ExecutionPlan
    from .resolve import Resolved

T = TypeVar("T")

PAYS = 0.95
"""A setting takes at most this share of its operator's exact time, or it is dropped (DESIGN.md D5)."""

MOST_CONSTANTS = 1_500_000_000
"""Bytes of packed weights in one plan; beyond that operators are profiled in several plans."""

MOST_COMBINATIONS = 12
"""Composed settings tried per operator."""

ERROR = 0.01
"""The chance that a setting is given up that should not have been, over all looks at it together."""

HOPELESS = 3.0
"""A setting is hopeless that alone loses more than so many times what may be lost: recalibration mends much, but not that."""

REMEMBERED = 2048
"""Numbers of the output kept for each setting and batch, as changes that can be added up (predictor P1)."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. samples: tuning inputs at most; setting_s: for each latency; output_s: for all output changes of a round."""

    samples: int = 96
    setting_s: float = 0.012
    output_s: float = 12.0


Measured = Mapping[OpId, tuple[SettingProfile, ...]]
"""Exact first. A setting that does not pay has no divergence (NaN)."""

Latency = tuple[float, float]
"""Lower quartile and 95 % confidence half-width, in milliseconds."""

Change = tuple[float, float | None]
"""Mean divergence, and what is lost in the unit of the measure."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What each setting does to the outputs of a few samples, so that changes can be added up.

    exact: float32[n, K], probabilities where the network classifies. added: (operator, setting) -> float16[n, K]. index: which tuning samples.
    """

    exact: Floats
    added: Mapping[tuple[OpId, Setting], npt.NDArray[np.float16]]
    index: npt.NDArray[np.int64]


def profile(resolved: Resolved, lab: Lab, journal: Journal, effort: Effort, progress: ProgressSink) -> tuple[Profile, Changes]:
    """Measure all single settings, then the combinations that promise something."""
    profiler = _Profiler(resolved, lab, journal, effort, progress)
    possible, refused = feasible(resolved.space, resolved.techniques, lab.device.info)
    if refused:
        progress(Progress("left out on this device", 0, 0, "; ".join(refused)))
    single = profiler.measure("settings", possible)
    promising = {name: tuple(s for s in row if (name, s.setting) not in profiler.given_up) for name, row in single.items()}
    composed = profiler.measure("combinations", combined(promising, resolved))
    operators = tuple(_joined(name, single[name], composed.get(name, ()), profiler.given_up) for name in single)
    found = Profile(operators, profiler.exact_ms(), len(profiler.inputs), resolved.couplings)
    return found, profiler.remembered(found)


def feasible(space: KnobSpace, techniques: Mapping[str, Technique], info: DeviceInfo) -> tuple[KnobSpace, tuple[str, ...]]:
    """The space without what no operator of a device can run, and what that is, with the reasons."""
    refused: dict[KnobSetting, str] = {}
    for knobs in {knobs for name in space for setting in space[name] for knobs in setting}:
        refusal = getattr(techniques[knobs.technique], "refusal", None)
        if refusal is not None and (reason := refusal(knobs, info)) is not None:
            refused[knobs] = f"'{knobs}', because {reason}"
    left = {name: tuple(s for s in space[name] if refused.keys().isdisjoint(s)) for name in space}
    return KnobSpace(left), tuple(refused[knobs] for knobs in sorted(refused))


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


def _joined(
    name: OpId, single: Sequence[SettingProfile], composed: Sequence[SettingProfile], given_up: Set[tuple[OpId, Setting]]
) -> OperatorProfile:
    """One operator from both rounds; latencies of the second round are scaled so that its exact one is that of the first."""
    exact = single[0]
    scale = exact.latency_ms / composed[0].latency_ms if composed else 1.0
    again = [replace(s, latency_ms=s.latency_ms * scale, latency_ci_ms=s.latency_ci_ms * scale) for s in composed[1:]]
    every = [*single[1:], *again]
    kept = [s for s in every if pays(s, exact) and math.isfinite(s.divergence) and (name, s.setting) not in given_up]
    return OperatorProfile(name, (exact, *kept), tuple(s for s in every if s not in kept))


def hopeless(
    latency: Mapping[Setting, float],
    divergences: Mapping[Setting, npt.NDArray[np.float64]],
    losses: Mapping[Setting, Loss],
    most: float,
    looks: int,
) -> set[Setting]:
    """Of one operator's settings, those that need no more samples: nothing that could be measured of them would ever choose them.

    Either another setting is no slower and changes the output less (paired over samples: the mean difference of divergences is beyond
    its standard error so far that chance alone does it once in 1 / ERROR); or the setting alone surely loses more than `most`.

    divergences: float64[n], of the same samples. looks: how often this is asked, at most, about one setting.
    """
    beyond = NormalDist().inv_cdf(1 - ERROR / looks)
    order = sorted(divergences, key=lambda s: (latency[s], float(divergences[s].mean())))
    found = {s for s, loss in losses.items() if loss.value - beyond * loss.error > most}
    best: list[Setting] = []
    for setting in order:
        own = divergences[setting]
        if any(_surely_more(own - divergences[other], beyond) for other in best):
            found.add(setting)
        elif setting not in found:
            best.append(setting)
    return found


def _surely_more(difference: npt.NDArray[np.float64], beyond: float) -> bool:
    error = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    return bool(difference.mean() > beyond * error)


class _Profiler:
    def __init__(self, resolved: Resolved, lab: Lab, journal: Journal, effort: Effort, progress: ProgressSink) -> None:
        self.resolved = resolved
        self.lab = lab
        self.journal = journal
        self.effort = effort
        self.progress = progress
        self.judge = resolved.judge(resolved.tune)
        self.done = self.total = 0
        self.started = perf_counter()
        self.places = {op.name: place for place, op in enumerate(resolved.graph.operators)}
        self.groups = {name: group for group in resolved.couplings for name in group}
        self.given_up: set[tuple[OpId, Setting]] = set()
        self.seen: dict[tuple[OpId, Setting], list[_Seen]] = {}
        self._shared: tuple[tuple[object, ...], ExecutionPlan] | None = None

    def exact_ms(self) -> float:
        """Latency of the whole exact network."""
        known = self.journal.recall("exact")
        if known is None:
            known = self.journal.note("exact", value=median_and_ci(self.lab.time([EXACT_CONFIGURATION], 0.5)[0])[0])
        return float(known)

    def measure(self, title: str, space: KnobSpace) -> Measured:
        """Latencies of a space, then the output changes of what pays."""
        self.done, self.total, self.started = 0, len(space), perf_counter()
        timed: dict[OpId, dict[Setting, Latency]] = {}
        for chunk in self.chunks(space):
            timed |= self.latencies(title, chunk)
        paying = KnobSpace({name: tuple(s for s, (ms, _) in row.items() if ms <= PAYS * row[EXACT][0]) for name, row in timed.items()})
        self.done, self.total, self.started = 0, len(paying), perf_counter()
        changes: dict[tuple[OpId, Setting], Change] = {}
        for chunk in self.chunks(paying):
            changes |= self.changes(title, chunk, timed)
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
        return self.lab.device.load(self.plan(space, batch, keep=keep))

    def plan(self, space: KnobSpace, batch: int, *, keep: bool, info: DeviceInfo | None = None) -> ExecutionPlan:
        """With a variant for every setting that is feasible; info: of another device than this."""
        self.lab.fit(space, self.progress)

        def plan(settings: Mapping[OpId, Sequence[Setting]]) -> ExecutionPlan:
            return self.lab.plan(batch, settings, keep_activations=keep, info=info)

        def is_feasible(name: OpId, setting: Setting) -> bool:
            try:
                plan({name: [setting]})
            except InfeasibleSetting:
                return False
            return True

        try:
            return plan(space.settings)
        except InfeasibleSetting:  # which ones, only trying each can tell
            return plan({name: [s for s in space[name] if is_feasible(name, s)] for name in space})

    def step(self, count: int, note: str) -> None:
        self.done += count
        left = (perf_counter() - self.started) * (self.total - self.done) / max(self.done, 1)
        self.progress(Progress("profile", self.done, self.total, note, left))

    # -- latency

    def latencies(self, title: str, space: KnobSpace) -> dict[OpId, dict[Setting, Latency]]:
        """Of every feasible setting, exact first."""
        found: dict[OpId, dict[Setting, Latency]] = {}
        with _OnDemand(lambda: self.load(space, self.lab.single, keep=False)) as bench:
            for name in space:
                spelt = list(map(str, space[name]))
                row = self.journal.recall("latency", name, spelt)
                if row is None:
                    row = self.journal.note("latency", name, spelt, value=self.time(space, bench, name))
                found[name] = {s: (row[str(s)][0], row[str(s)][1]) for s in space[name] if str(s) in row}
                self.step(len(spelt) - 1, f"{title}: latency of {name}")
        return found

    def time(self, space: KnobSpace, bench: _OnDemand, name: OpId) -> dict[str, Latency]:
        """Of all variants of an operator, interleaved; by spelt setting. Those that differ in weights only are timed as one."""
        place, workforce, single = self.places[name], self.lab.workforce, self.lab.single
        plan = bench.runner.plan if workforce is None else self.shared_plan(space, single, False, self.lab.device.info)
        variants = plan.operators[place].variants
        alike = {number: variant.geometry or str(number) for number, variant in enumerate(variants)}
        first = {geometry: number for number, geometry in reversed(alike.items())}
        numbers = sorted(first.values())
        choices = [_variants(plan, {place: number}) for number in numbers]
        seconds, samples = self.effort.setting_s * len(choices), None
        if workforce is not None:
            samples = workforce.time(partial(self.shared_plan, space, single, False), self.lab.first(single), [place], choices, seconds)
        if samples is None:
            bench.runner.run(self.lab.first(single))
            samples = bench.runner.time([place], choices, seconds)
        timed = dict(zip(numbers, map(undisturbed, samples), strict=True))
        return {str(variant.setting): timed[first[alike[number]]] for number, variant in enumerate(variants)}

    # -- change of the output

    @cached_property
    def inputs(self) -> npt.NDArray[np.int64]:
        """Which tuning samples are looked at: evenly spread, none that was fitted to, and as many batches as the time allows."""
        spread = np.array(evenly(self.resolved.unfitted.tolist(), self.effort.samples), dtype=np.int64)
        batches = self.journal.recall(*self.batches_key) or 1
        most = -(-len(spread) // self.lab.many)
        return np.concatenate([spread[start::most] for start in range(min(batches, most))])

    @cached_property
    def batches_key(self) -> tuple[str | Sequence[str], ...]:
        return "batches", [f"{name}: {setting}" for name in self.resolved.space for setting in self.resolved.space[name]]

    def decide_batches(self, runner: Runner, space: KnobSpace) -> None:
        """How many batches the time allows, from the time of one exact run: noted once, so that a resumed run goes on with as many.

        Of the batches after the first, settings that are given up need about half.
        """
        if self.journal.recall(*self.batches_key) is not None:
            return
        batch = self.lab.first(self.lab.many)
        runner.run(batch)
        begin = perf_counter()
        runner.run(batch)
        once = perf_counter() - begin
        macs = np.array([self.resolved.macs[op.name] for op in self.resolved.graph.operators], dtype=np.float64) + 1
        suffix = np.cumsum(macs[::-1])[::-1] / macs.sum()
        cost = once * sum((len(space[name]) - 1) * suffix[self.places[name]] for name in space)
        self.journal.note(*self.batches_key, value=max(1, int(2 * self.effort.output_s / cost) - 1))

    def changes(self, title: str, space: KnobSpace, timed: Mapping[OpId, Mapping[Setting, Latency]]) -> dict[tuple[OpId, Setting], Change]:
        """Of every setting, over all samples; of those given up on the way, over the samples until then."""
        seen: dict[tuple[OpId, Setting], list[_Seen]] = {}
        exact_rows: list[Statistics] = []
        with _OnDemand(lambda: self.load(space, self.lab.many, keep=True)) as bench:
            if len(space) and self.journal.recall(*self.batches_key) is None:
                self.decide_batches(bench.runner, space)
            starts = range(0, len(self.inputs), self.lab.many)
            for start in starts:
                part = self.inputs[start : start + self.lab.many]
                if self.lab.workforce is not None:
                    self.let_change(self.lab.workforce, space, part)
                exact: Floats | None = None
                for name in sorted(space, key=lambda name: -self.places[name]):
                    for setting, members in self.led(name, space):
                        if (name, setting) in self.given_up:
                            continue
                        what = ("change", name, str(setting), list(map(str, part)))
                        value = self.journal.recall(*what)
                        if value is None:
                            exact = self.exact(bench.runner, part) if exact is None else exact
                            value = self.journal.note(*what, value=self.change(bench.runner, members, setting, part, exact))
                        for member in members:
                            seen.setdefault((member, setting), []).append(_Seen.of(value, len(members)))
                    if start == 0:
                        self.step(len(space[name]) - 1, f"{title}: output under {name}")
                exact_rows.append(self.exact_rows(bench, part))
                if start + self.lab.many < len(self.inputs):
                    self.give_up(space, timed, seen, np.concatenate(exact_rows), len(starts) - 1)
        found: dict[tuple[OpId, Setting], Change] = {}
        for key, parts in seen.items():
            if not all(part.finite for part in parts):
                found[key] = math.nan, None
                continue
            divergence = np.concatenate([p.divergence for p in parts])
            rows = np.concatenate([p.rows for p in parts])
            loss = self.judge.loss(np.concatenate(exact_rows)[: len(rows)], rows, self.inputs[: len(rows)]).value
            found[key] = float(divergence.mean()), loss if math.isfinite(loss) else None
        self.seen |= seen
        return found

    def let_change(self, workforce: Workforce, space: KnobSpace, part: npt.NDArray[np.int64]) -> None:
        """Let workers run what is not in the journal yet; a job is one operator under all its settings."""
        plan = self.shared_plan(space, self.lab.many, True, self.lab.device.info)
        jobs, notes = [], []
        for name in space:
            keys: list[tuple[str | Sequence[str], ...]] = []
            runs: list[tuple[tuple[int, ...], int | None]] = [(tuple(_variants(plan, {})), None)]
            for setting, members in self.led(name, space):
                what = ("change", name, str(setting), list(map(str, part)))
                if (name, setting) not in self.given_up and self.journal.recall(*what) is None:
                    places = [self.places[member] for member in members]
                    numbers = {p: [v.setting for v in plan.operators[p].variants].index(setting) for p in places}
                    keys.append(what)
                    runs.append((tuple(_variants(plan, numbers)), min(places)))
            if keys:
                jobs.append(Job(tuple(part.tolist()), tuple(runs)))
                notes.append(keys)
        plan_for = partial(self.shared_plan, space, self.lab.many, True)
        for number, (exact, *outputs) in workforce.outputs(plan_for, self.resolved.tune.inputs, jobs) if jobs else ():
            for key, output in zip(notes[number], outputs, strict=True):
                self.journal.note(*key, value=self.changed(output, part, exact))

    def shared_plan(self, space: KnobSpace, batch: int, keep: bool, info: DeviceInfo) -> ExecutionPlan:
        """The plan for a worker's device; the last one is kept."""
        key = (space.settings, batch, keep, info)
        if self._shared is None or self._shared[0] != key:
            self._shared = key, self.plan(space, batch, keep=keep, info=info)
        return self._shared[1]

    def give_up(
        self,
        space: KnobSpace,
        timed: Mapping[OpId, Mapping[Setting, Latency]],
        seen: Mapping[tuple[OpId, Setting], Sequence[_Seen]],
        exact: Statistics,
        looks: int,
    ) -> None:
        """Note which settings need no more samples. Coupled ones stay: what one of them saves, only all together say."""
        index = self.inputs[: len(exact)]
        for name in space:
            if name in self.groups:
                continue
            known = {s: seen[name, s] for s in space[name][1:] if (name, s) in seen and (name, s) not in self.given_up}
            self.given_up |= {(name, s) for s, parts in known.items() if not parts[-1].finite}
            known = {s: parts for s, parts in known.items() if parts[-1].finite}
            own = {s: np.concatenate([p.divergence for p in parts]) for s, parts in known.items()}
            losses = {s: self.judge.loss(exact, np.concatenate([p.rows for p in parts]), index) for s, parts in known.items()}
            for slots in {self.slots(s) for s in known}:  # of different slots, both may be wanted together
                alike = [s for s in known if self.slots(s) == slots]
                ms, changed, lost = {s: timed[name][s][0] for s in alike}, {s: own[s] for s in alike}, {s: losses[s] for s in alike}
                self.given_up |= {(name, s) for s in hopeless(ms, changed, lost, HOPELESS * self.resolved.max_loss, looks)}

    def slots(self, setting: Setting) -> tuple[str, ...]:
        return tuple(self.resolved.techniques[knobs.technique].slot(knobs) for knobs in setting)

    def exact_rows(self, bench: _OnDemand, part: npt.NDArray[np.int64]) -> Statistics:
        """Statistics of the exact network."""
        what = ("exact", list(map(str, part)))
        value = self.journal.recall(*what)
        if value is None:
            exact = self.exact(bench.runner, part)
            kept = self._kept(exact)
            value = self.journal.note(*what, value={"rows": pack(self.judge.statistics(exact, exact, part)), "outputs": pack(kept)})
        return unpack(value["rows"])

    def _kept(self, outputs: Floats) -> npt.NDArray[np.float32]:
        """The outputs of the first samples of a batch, as many as are remembered."""
        few = outputs[: max(1, REMEMBERED // outputs.shape[1])]
        return probabilities(few, self.resolved.already_softmax).astype(np.float32) if self.judge.metric.classifies else few

    def remembered(self, profile: Profile) -> Changes:
        """What was kept of the outputs; settings that were given up, or are not finite, are not among it."""
        parts = [self.inputs[start : start + self.lab.many] for start in range(0, len(self.inputs), self.lab.many)]
        values = [self.journal.recall("exact", list(map(str, part))) for part in parts]
        kept = [unpack(value["outputs"]).astype(np.float32) for value in values if value is not None]
        if not kept:
            return Changes(np.zeros((0, 1), np.float32), {}, np.zeros(0, np.int64))
        wanted = {(o.name, s.setting) for o in profile.operators for s in o.settings[1:]}
        added = {key: np.concatenate([p.added for p in parts]) for key, parts in self.seen.items() if key in wanted}
        index = np.concatenate([part[: len(own)] for part, own in zip(parts, kept, strict=True)])
        whole = {key: change for key, change in added.items() if len(change) == len(index)}
        return Changes(np.concatenate(kept), whole, index)

    def led(self, name: OpId, space: KnobSpace) -> Iterator[tuple[Setting, tuple[OpId, ...]]]:
        """Settings to measure at this operator, with all operators that take them: of coupled operators the first leads."""
        group = self.groups.get(name, (name,))
        if name == min(group, key=self.places.__getitem__):
            yield from ((setting, group) for setting in space[name][1:] if all(setting in space[member] for member in group))

    def exact(self, runner: Runner, part: npt.NDArray[np.int64]) -> Floats:
        """The exact output, whose activations stay in the arena."""
        runner.select(_variants(runner.plan, {}))
        return scores(runner.run(filled(self.resolved.tune.inputs[part], self.lab.many)))[: len(part)].copy()

    def change(self, runner: Runner, members: Sequence[OpId], setting: Setting, part: npt.NDArray[np.int64], exact: Floats) -> Json:
        """What becomes of one batch; None where the output is not finite."""
        places = [self.places[name] for name in members]
        numbers = {p: [v.setting for v in runner.plan.operators[p].variants].index(setting) for p in places}
        runner.select(_variants(runner.plan, numbers))
        return self.changed(scores(runner.resume(min(places)))[: len(part)].copy(), part, exact)

    def changed(self, output: Floats, part: npt.NDArray[np.int64], exact: Floats) -> Json:
        """What is noted of an output; None where it is not finite."""
        if not np.isfinite(output).all():
            return None
        return {
            "divergence": pack(self.judge.divergence(output, exact).astype(np.float32)),
            "rows": pack(self.judge.statistics(output, exact, part)),
            "added": pack((self._kept(output) - self._kept(exact)).astype(np.float16)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """One setting on one batch. divergence: float64[n]; rows: float64[n, S]; added: float16[m, K]; coupled operators share alike."""

    divergence: npt.NDArray[np.float64]
    rows: Statistics
    added: npt.NDArray[np.float16]
    finite: bool = True

    @classmethod
    def of(cls, value: Json, members: int) -> _Seen:
        if value is None:
            return cls(np.empty(0), np.empty((0, 0)), np.empty((0, 0), np.float16), finite=False)
        added = (unpack(value["added"]) / members).astype(np.float16)
        return cls(unpack(value["divergence"]) / members, unpack(value["rows"]), added)


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


def summed_loss(judge: Judge, changes: Changes, outputs: Floats) -> float:
    """What outputs[n, K] on the samples of `changes` lose."""
    exact, rows = (judge.statistics(own, changes.exact, changes.index) for own in (changes.exact, outputs))
    return judge.lost(exact.mean(axis=0), rows.mean(axis=0))


# ------------------------------------------------------------------------------------------------------------------------- files


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """As `profile.json` holds it; settings that were dropped are kept for the reader."""

    def row(s: SettingProfile) -> dict[str, Any]:
        return {
            "setting": str(s.setting),
            "latency_ms": s.latency_ms,
            "latency_ci_ms": s.latency_ci_ms,
            "divergence": s.divergence if math.isfinite(s.divergence) else None,
            "loss": s.loss,
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
        return SettingProfile(Setting.parse(s["setting"]), s["latency_ms"], s["latency_ci_ms"], kl, s["loss"])

    return Profile(
        operators=tuple(
            OperatorProfile(o["name"], tuple(map(row, o["settings"])), tuple(map(row, o["dropped"]))) for o in value["operators"]
        ),
        latency_ms=value["latency_ms"],
        samples=value["samples"],
        couplings=tuple(tuple(group) for group in value["couplings"]),
    )


def write_changes(path: Path, changes: Changes) -> None:
    """As `changes.npz`: numbers alone; which setting each is of, the profile says (`read_changes`)."""
    keys = [f"{op}: {setting}" for op, setting in changes.added]
    added = np.stack(list(changes.added.values())) if keys else np.zeros((0, *changes.exact.shape), np.float16)
    with path.with_name(path.name + ".part").open("wb") as file:
        np.savez_compressed(file, exact=changes.exact, added=added, index=changes.index, keys=np.array(keys, dtype=np.str_))
    os.replace(path.with_name(path.name + ".part"), path)


def read_changes(path: Path, profile: Profile) -> Changes:
    """The inverse of `write_changes`."""
    with np.load(path, allow_pickle=False) as stored:
        rows = dict(zip(stored["keys"].tolist(), stored["added"], strict=True))
        own = {(o.name, s.setting): rows[key] for o in profile.operators for s in o.settings if (key := f"{o.name}: {s.setting}") in rows}
        return Changes(stored["exact"], own, stored["index"])
