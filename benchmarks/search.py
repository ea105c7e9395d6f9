"""How good and how fast the search is. Each part prints what it measured beside the target; --json writes the numbers.

::

    python benchmarks/search.py rate                                   # predicted configurations per second
    python benchmarks/search.py knapsack                               # 100 operators x 60 settings, and the gap to the best possible
    python benchmarks/search.py predictions EXPERIMENT... --out DIR    # against 50 random feasible configurations, and shipped levels
    python benchmarks/search.py hypervolume EXPERIMENT... --out DIR    # knapsack, random and NSGA-II with as many real evaluations;
                                                                       # --write puts all that are in DIR into docs/experiment.md
    python benchmarks/search.py promises EXPERIMENT... --out DIR       # whole runs, twice: levels, seconds, and how often test losses keep the bound

Times mean something on an otherwise idle machine only. What is measured by `predictions` and `hypervolume` is kept in DIR: a run that was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mobiprox_search_knapsack.plugin import Knapsack
from recipes import put

from mobiprox_core import experiment as experiments
from mobiprox_core import pipeline, plugins
from mobiprox_core.configuration import EXACT, EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.interfaces import OperatorProfile, Profile, SettingProfile
from mobiprox_core.ledger import Journal, Ledger, digest
from mobiprox_core.measure import Measurer
from mobiprox_core.measurement import OperatingPoint, pareto_front
from mobiprox_core.prediction import POWERS, Codes, Latency, Scale, Table, additive, random_codes, trust
from mobiprox_core.resolve import resolve
from mobiprox_core.selection import evenly
from mobiprox_core.stages import Effort, Stages, open_lab

PAGE = Path(__file__).parents[1] / "docs" / "experiment.md"
MARKS = "<!-- hypervolume: made by benchmarks/search.py -->", "<!-- end of hypervolume -->"
HYPERVOLUME = "hypervolume.json"

EVALUATIONS = 48
RANDOM = 50
TOGETHER = 12
"""Configurations that are timed side by side with the exact network."""


def made_up(operators: int, settings: int, seed: int = 0) -> Profile:
    """A profile of random savings and divergences; those that save more change more, roughly."""
    rng = np.random.default_rng(seed)

    def rows(name: str) -> OperatorProfile:
        exact = rng.lognormal(-3, 1)
        shares = rng.uniform(0.2, 0.95, settings)
        changes = rng.lognormal(-5, 1, settings) * (1 / shares - 1) * exact * 20
        own = [
            SettingProfile(Setting.of("toy", n=n), exact * share, 0, float(kl))
            for n, (share, kl) in enumerate(zip(shares, changes, strict=True), 1)
        ]
        return OperatorProfile(name, (SettingProfile(EXACT, exact, 0, 0.0), *own))

    every = tuple(rows(f"op{i}") for i in range(operators))
    return Profile(every, sum(o.settings[0].latency_ms for o in every), 64)


def fastest(work: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of some runs."""

    def once() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return min(once() for _ in range(times))


def rate() -> dict[str, Any]:
    table = Table.of(made_up(22, 60))
    codes = random_codes(table, 1_000_000, np.random.default_rng(0))
    latency, scale = Latency(table.exact_ms, 0.8, 0.001), Scale(40, 1.0)

    def predict() -> None:
        saving, divergence, changed = table.sums(codes)
        latency(saving, changed)
        scale(divergence)

    return {"operators": 22, "configurations_per_s": len(codes) / fastest(predict), "target": 1e6}


def knapsack() -> dict[str, Any]:
    """Time, and how much less is saved than linear programming allows: no choice of settings can save more than that."""
    profile = made_up(100, 60)
    found = Knapsack().search(profile, {}, 320, np.random.default_rng(0))
    gaps = [1 - (profile.latency_ms - c.latency_ms) / most_saved(profile, c.divergence) for c in found]
    return {
        "operators": 100,
        "settings": 60,
        "candidates": len(found),
        "ms": 1e3 * fastest(lambda: Knapsack().search(profile, {}, 320, np.random.default_rng(0))),
        "target_ms": 100,
        "median_gap_percent": 100 * statistics.median(gaps),
        "largest_gap_percent": 100 * max(gaps),
    }


def most_saved(profile: Profile, divergence: float) -> float:
    """The relaxed optimum: steps along the upper hull of every operator, best ratio first, the last one in part."""
    steps = []
    for operator in profile.operators:
        exact, *others = operator.settings
        points = sorted((s.divergence, exact.latency_ms - s.latency_ms) for s in others)
        hull = [(0.0, 0.0)]
        for x, y in points:
            while len(hull) > 1 and (y - hull[-1][1]) * (hull[-1][0] - hull[-2][0]) >= (hull[-1][1] - hull[-2][1]) * (x - hull[-1][0]):
                hull.pop()
            if y > hull[-1][1]:
                hull.append((x, y))
        steps += [((b[1] - a[1]) / (b[0] - a[0]), b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(hull) if b[0] > a[0]]
    saved = 0.0
    for ratio, width, gain in sorted(steps, reverse=True):
        if width > divergence:
            return saved + ratio * divergence
        saved, divergence = saved + gain, divergence - width
    return saved


class Bench:
    """One experiment's network on its device, profiled."""

    def __init__(self, stages: Stages, profile: Profile) -> None:
        self.stages, self.profile = stages, profile
        self.lab, self.resolved = stages.lab, stages.resolved
        self.judge = self.resolved.judge(self.resolved.tune)
        self.table = Table.of(profile)
        inputs = {**stages.tuning, "recalibration": stages.grade}
        journal = Journal(stages.ledger.folder / "benchmark.jsonl", digest([inputs[key] for key in sorted(inputs)]))
        self.measurer = Measurer("benchmark", self.lab, journal, Effort().measure, stages.progress, losses=stages.losses("tuning", inputs))

    def points(self, configurations: Sequence[Configuration]) -> list[OperatingPoint]:
        """Loss on all tuning data, latency beside the exact network, a dozen at a time; relative latencies are put on one scale."""
        found: list[OperatingPoint] = []
        for start in range(0, len(configurations), TOGETHER):
            part = list(configurations[start : start + TOGETHER])
            exact, *rows = self.measurer.statistics("tune", self.judge, [EXACT_CONFIGURATION, *part])
            timed = self.measurer.timed("latency", [EXACT_CONFIGURATION, *part], 0.2)
            scale = self.profile.latency_ms / timed[0][0]
            for configuration, (ms, ci), own in zip(part, timed[1:], rows, strict=True):
                loss = self.judge.loss(exact, own)
                found.append(OperatingPoint(configuration, loss.value, ms * scale, None, loss.ci, ci * scale, loss.upper))
        return found


@contextmanager
def bench(path: Path, out: Path) -> Iterator[Bench]:
    registry = plugins.load()
    resolved = resolve(experiments.load(path, registry), registry)
    with open_lab(resolved) as lab:
        stages = Stages(resolved, lab, Ledger(out / path.stem, resume=True), Effort(), lambda step: None, lambda point: None)
        yield Bench(stages, stages.profile())


def thinned(
    table: Table, front: Sequence[Configuration], couplings: Sequence[Sequence[str]], count: int, rng: np.random.Generator
) -> Codes:
    """int16[M, O]: configurations of a front, each operator put back to exact with a chance that is itself drawn; coupled ones together."""
    codes = table.codes(front)[rng.integers(0, len(front), count)]
    kept = rng.random(codes.shape) < rng.random((count, 1))
    for group in couplings:
        places = [table.operators.index(name) for name in group if name in table.operators]
        kept[:, places] = kept[:, places[:1]]
    return np.where(kept, codes, 0).astype(np.int16)


def spread(values: np.ndarray[Any, Any], count: int, rng: np.random.Generator) -> list[int]:
    """Indices of at most `count` values, one drawn from each of as many equal steps of their range that holds any."""
    steps = np.minimum((values - values.min()) / max(float(np.ptp(values)), 1e-12) * count, count - 1).astype(int)
    return [int(rng.choice(np.flatnonzero(steps == step))) for step in np.unique(steps)]


def predictions(path: Path, out: Path) -> dict[str, Any]:
    """Fitted to a handful along the knapsack's front; judged by the rest of the front, and by random configurations that are feasible.

    Drawn evenly, and from configurations of the front by putting settings back to exact: what is feasible among the former is all but
    exact. Of both those are taken that spread evenly over the range of predicted latencies, so that their order can be told right or wrong.
    """
    with bench(path, out) as own:
        table, rng, most = own.table, np.random.default_rng(1), own.resolved.max_loss
        front = [c.configuration for c in Knapsack().search(own.profile, {}, 320, rng)]
        fitted = own.points(evenly(front, Effort().measure.first))
        saving, divergence, changed = table.sums(table.codes(p.configuration for p in fitted))
        latency = Latency.fitted(own.profile.latency_ms, saving, changed, [p.latency_ms for p in fitted])
        errors = [p.qos_loss_ci / 1.96 for p in fitted]
        scale = Scale.fitted(divergence, [p.qos_loss for p in fitted], errors, most, POWERS)
        drawn = np.concatenate(
            [random_codes(table, 100_000, rng, own.profile.couplings), thinned(table, front, own.profile.couplings, 100_000, rng)]
        )
        drawn = np.unique(drawn[np.asarray(scale(table.sums(drawn)[1])) <= most], axis=0)
        randoms = [table.configuration(row) for row in drawn[spread(table.sums(drawn)[0], RANDOM, rng)]]
        bearable = [
            c
            for c, loss in zip(front, scale(additive(table)(front)), strict=True)
            if loss <= most and c not in {p.configuration for p in fitted}
        ]
        held = own.points([*randoms, *evenly(bearable, 10)])
        saving, divergence, changed = table.sums(table.codes(p.configuration for p in held))
        near = np.array([p.qos_loss <= most for p in held])
        losses = np.array([p.qos_loss for p in held])
        latencies = trust("profile", "latency", "%", latency(saving, changed), [p.latency_ms for p in held], len(fitted), relative=True)
        kept = trust("additive", "loss", own.resolved.metric.unit, scale(divergence)[near], losses[near], len(fitted))
        return {"experiment": path.stem, "random": len(randoms), "latency": latencies.to_json(), "loss": kept.to_json()}


def area(points: Sequence[OperatingPoint], exact_ms: float, most: float) -> float:
    """Of what the front dominates: speedup above 1, times loss below what may be lost."""
    front = [p for p in pareto_front(points) if p.qos_loss <= most and p.latency_ms < exact_ms]
    total, reached = 0.0, 1.0
    for point in front:
        speedup = exact_ms / point.latency_ms
        total += max(speedup - reached, 0.0) * (most - max(point.qos_loss, 0.0))
        reached = max(speedup, reached)
    return total


def hypervolume(path: Path, out: Path, evaluations: int = EVALUATIONS) -> dict[str, Any]:
    """Each way to search has as many real evaluations; NSGA-II alone starts from random ones, the seeded one from the knapsack's front."""
    registry = plugins.load()
    with bench(path, out) as own:
        exact_ms, most = own.profile.latency_ms, own.resolved.max_loss

        def proposed(name: str, options: dict[str, Any], count: int) -> list[Configuration]:
            found = registry.get("heuristic", name).search(own.profile, options, 8 * count, np.random.default_rng(0))
            return [c.configuration for c in (found if name == "knapsack" or options.get("seeded") else found[:count])]

        def refined(first: list[OperatingPoint]) -> list[OperatingPoint]:
            """The knapsack's second half: where the first half showed that losses can be borne."""
            good = max((i for i, p in enumerate(first) if p.qos_loss <= most), default=0)
            every = proposed("knapsack", {}, evaluations)
            places = {c: i for i, c in enumerate(every)}
            low, high = places[first[max(good - 3, 0)].configuration], places[first[min(good + 1, len(first) - 1)].configuration]
            rest = [c for c in every[low : high + 1] if c not in {p.configuration for p in first}]
            return own.points(evenly(rest, evaluations - len(first)))

        def evolved(options: dict[str, Any]) -> list[OperatingPoint]:
            nsga2 = registry.get("heuristic", "nsga2")
            points = own.points(evenly(proposed("nsga2", options, evaluations // 3), evaluations // 3))
            for generation in range(100):
                count = min(evaluations // 6, evaluations - len(points))
                asked = {**options, "generations": 100, "offspring": max(count, 2)}
                rng = np.random.default_rng([0, generation])
                children = nsga2.improve(own.profile, points, asked, generation, rng)[:count] if count else ()  # type: ignore[attr-defined]
                if not children:
                    return points
                points += own.points([c.configuration for c in children])
            return points

        first = own.points(evenly(proposed("knapsack", {}, evaluations), evaluations // 2))
        fronts = {
            "knapsack": [*first, *refined(first)],
            "random": own.points(proposed("random", {}, evaluations)),
            "nsga2 alone": evolved({"seeded": False}),
            "nsga2 seeded": evolved({"seeded": True}),
        }
        areas = {name: area(points, exact_ms, most) for name, points in fronts.items()}
        found = {"experiment": path.stem, "evaluations": {name: len(points) for name, points in fronts.items()}, "area": areas}
        (out / path.stem / HYPERVOLUME).write_text(json.dumps(found), encoding="utf-8")
        return found


def written(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, one row per experiment; areas relative to that of random search."""
    names = list(found[0]["area"])
    lines = [f"| experiment | {' | '.join(names)} | speedup x points of random |", f"| --- |{' --- |' * (len(names) + 1)}"]
    for own in found:
        least = own["area"]["random"]
        shares = [f"{own['area'][name] / least:.2f}" if least else "all of it" for name in names]
        lines.append(f"| `{own['experiment']}` | {' | '.join(shares)} | {least:.2f} |")
    return "\n".join(lines)


def promises(path: Path, out: Path) -> dict[str, Any]:
    """Runs an experiment, and the same again into another folder, which may take over what was kept.

    kept: levels whose loss on test data, of other users or speakers where these are known, is within the bound they were chosen by.
    Seconds of the first run mean something where nothing was kept before it: XDG_CACHE_HOME=$(mktemp -d).
    """
    registry = plugins.load()

    def timed(run: str) -> tuple[Mapping[str, Any], float]:
        begin = time.perf_counter()
        found = pipeline.run(experiments.load(path, registry), registry, out / f"{path.stem}_{run}")
        return found.summary, time.perf_counter() - begin

    (first, first_s), (second, second_s) = map(timed, ("first", "second"))
    levels = first["levels"][1:]
    return {
        "experiment": path.stem,
        "levels": len(levels),
        "kept": sum(level["test_qos_loss"] <= level["qos_loss_upper"] for level in levels),
        "fastest": max((level["speedup"] for level in levels), default=1.0),
        "predictions": first["predictions"][:2],
        "seconds": {"first": first_s, "second": second_s},
        "stages": {"first": first["seconds"], "second": second["seconds"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=["rate", "knapsack", "predictions", "hypervolume", "promises"])
    parser.add_argument("experiments", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if asked.part in ("rate", "knapsack"):
        results = [{"rate": rate, "knapsack": knapsack}[asked.part]()]
    elif asked.part in ("predictions", "promises"):
        results = [{"predictions": predictions, "promises": promises}[asked.part](path, asked.out) for path in asked.experiments]
    else:
        results = [hypervolume(path, asked.out, asked.evaluations) for path in asked.experiments]
    for result in results:
        print(json.dumps(result))
    if asked.part == "hypervolume" and asked.write:
        every = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(asked.out.glob(f"*/{HYPERVOLUME}"))]
        put(written(every), PAGE, MARKS)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
