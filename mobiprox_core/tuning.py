"""Which way to compute each operator is fastest on a device: measured in whole networks, kept on disk.

An operator that is timed alone finds its weights in the cache, and the tiles that win there lose in the network. So whole inferences
are timed, in each of which operators take one of their ways at random; a linear model then tells what each way adds. Some shapes at a
time, the most expensive first. What they win together is timed against the rule, and given up where it wins nothing.

Verdicts are files: a folder per device, driver and kernel source, a file per shape. Processes may share them, a damaged one is as good as
none, and an interrupted search goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from hashlib import sha256
from importlib.resources import files
from time import perf_counter
from typing import TYPE_CHECKING

from .cache import cache_folder
from .interfaces import Progress, ProgressSink
from .lowering import Alternatives, alternatives
from .lowering.ways import Way
from .plan import DeviceInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .configuration import Configuration, OpId
    from .graph import Graph
    from .interfaces import Device, Runner, Statistics, Technique
    from .plan import ExecutionPlan

LIMIT_S = 5.0
"""How long one search may time inferences, unless the environment variable LIMIT says otherwise."""
LIMIT = "MOBIPROX_TUNING_S"
AT_ONCE = 8
"""Shapes whose ways vary at the same time."""
DRAWS = 20
"""Inferences drawn for each way of the shape that has most of them."""
MEMORY = 512 << 20
"""Bytes that a search may take, about. It looks at as many levels as fit; the others follow the rule."""
COPIES = 4
"""Of a level's weights: packed for each register tile."""
LEAST_GAIN = 1.005
CERTAIN = 2.0
"""Standard errors that a way must be better by."""


def limit_s() -> float:
    """Seconds that a search may take; 0 for none."""
    try:
        return max(0.0, float(os.environ[LIMIT]))
    except (KeyError, ValueError):
        return LIMIT_S


class Verdicts(Mapping[str, Way]):
    """The ways that are known to be fastest on a device, by key (see `lowering.alternatives`)."""

    def __init__(self, device: DeviceInfo) -> None:
        self._folder = cache_folder() / f"tuning-{sha256(repr((device, _source())).encode()).hexdigest()[:24]}"
        self._known: dict[str, Way | None] = {}

    def __getitem__(self, key: str) -> Way:
        if key not in self._known:
            self._known[key] = self._read(key)
        way = self._known[key]
        if way is None:
            raise KeyError(key)
        return way

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self._folder.glob("*.json")) if path.stem in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keep(self, key: str, way: Way) -> None:
        """Remember a verdict, here and on disk."""
        self._known[key] = way
        self._folder.mkdir(exist_ok=True)
        temporary = self._folder / f"{key}.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(way)), encoding="utf-8")
        temporary.replace(self._folder / f"{key}.json")

    def _read(self, key: str) -> Way | None:
        try:
            values = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            way = Way(**values)
        except (OSError, ValueError, TypeError):
            return None
        return way if all(isinstance(getattr(way, f.name), str if f.name == "template" else int) for f in fields(way)) else None


@cache
def _source() -> str:
    """A digest of what decides how fast a way is: kernels, and the code that instantiates them."""
    core = files("mobiprox_core")
    texts = [item.read_text() for item in sorted((core / "kernels").iterdir(), key=lambda i: i.name) if item.name.endswith(".cl")]
    return sha256("\0".join([*texts, (core / "program.py").read_text(), (core / "lowering" / "ways.py").read_text()]).encode()).hexdigest()


def tuned(
    graph: Graph,
    device: Device,
    techniques: Mapping[str, Technique],
    levels: Sequence[Configuration] = (),
    *,
    statistics: Callable[[OpId], Statistics | None] = lambda op: None,
    progress: ProgressSink = lambda progress: None,
) -> Verdicts:
    """What is known of the device, after a search for what the exact network and these levels lack.

    A device is searched that says of itself ``tunable``: plans load quickly and times are its own. The search times inferences for at most `limit_s`; what it did not come to, the next one does. Beside that it builds kernels once.
    """
    verdicts = Verdicts(device.info)
    seconds = limit_s()
    weights = sum(values.nbytes for op in graph.operators for values in op.constants.values())
    most = min(MEMORY, device.info.max_alloc_bytes) // max(1, COPIES * weights)  # the exact network and so many levels but one
    if device.info.kind == "cpu" and seconds and most and getattr(device, "tunable", False):
        some = [level for level in levels if level.settings][: most - 1]
        plan, alternatives_of = alternatives(graph, device.info, techniques, some, verdicts, statistics)
        if alternatives_of:
            _Search(graph, plan, alternatives_of, verdicts, progress).run(device, seconds)
    return verdicts


class _Search:
    """Decides between the alternatives of a plan."""

    def __init__(
        self,
        graph: Graph,
        plan: ExecutionPlan,
        alternatives: Mapping[tuple[int, int], Alternatives],
        verdicts: Verdicts,
        progress: ProgressSink,
    ) -> None:
        self.plan, self.verdicts, self.progress = plan, verdicts, progress
        self.ways = {found.key: found.ways for found in alternatives.values()}
        self._alternatives = alternatives
        self._work = [graph.macs(graph[op.name]) if op.name in {o.name for o in graph.operators} else 0 for op in plan.operators]

    def run(self, device: Device, seconds: float) -> None:
        """Decide about as many shapes as there is time for, level by level."""
        import numpy as np

        self._report(f"at most {seconds:g} s and the building of kernels; {LIMIT}=0 for none")
        runner = device.load(self.plan)
        try:
            rng = np.random.default_rng(0)
            runner.run(*(rng.standard_normal(slot.shape).astype(np.float32) for slot in self.plan.inputs))
            end = perf_counter() + seconds
            for level in self.plan.levels:
                self._level(runner, level, end)
        finally:
            runner.close()

    def _level(self, runner: Runner, level: Sequence[int], end: float) -> None:
        """Decide about what a level has and no verdict knows, the most expensive first, some at a time."""
        import numpy as np

        members: dict[str, list[tuple[int, tuple[int, ...]]]] = {}  # by key: operators, and the variant that takes each way
        for operator, variant in enumerate(level):
            found = self._alternatives.get((operator, variant))
            if found is not None and found.key not in self.verdicts:
                members.setdefault(found.key, []).append((operator, found.variants))
        keys = sorted(members, key=lambda key: -sum(self._work[operator] for operator, _ in members[key]))

        def variants(some: Sequence[str], numbers: Sequence[int]) -> list[int]:
            chosen = list(level)
            for key, number in zip(some, numbers, strict=True):
                for operator, of_way in members[key]:
                    chosen[operator] = of_way[number]
            return chosen

        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            design = _design([len(self.ways[key]) for key in some])
            (once,) = runner.time(None, [level], 0.0)
            if perf_counter() + 1e-3 * 8 * len(design) * float(np.median(once)) > end:
                return
            samples = runner.time(None, [variants(some, row) for row in design.tolist()], 0.0)
            best = _fastest(design, np.array([np.median(times) for times in samples]))
            if any(best):
                rule, together = runner.time(None, [variants(some, row) for row in ([0] * len(some), best)], 0.1)
                if np.median(rule) < LEAST_GAIN * np.median(together):
                    best = [0] * len(some)
            for key, number in zip(some, best, strict=True):
                self.verdicts.keep(key, self.ways[key][number])
            self._report()

    def _report(self, note: str = "") -> None:
        self.progress(Progress("tuning", sum(key in self.verdicts for key in self.ways), len(self.ways), note))


def _design(ways: Sequence[int]) -> npt.NDArray[np.int64]:
    """int[D, K]: in each draw a way for each of K shapes, every way of a shape about equally often."""
    import numpy as np

    rng = np.random.default_rng(0)
    draws = DRAWS * max(ways)
    return np.stack([rng.permutation(np.arange(draws) % count) for count in ways], axis=1)


def _fastest(design: npt.NDArray[np.int64], times: npt.NDArray[np.float64]) -> list[int]:
    """design: int[D, K], the way that each of K shapes took in each of D draws; times: float[D]. The best way of each, 0 where none is
    better for certain."""
    import numpy as np

    quiet = times <= 1.15 * np.quantile(times, 0.25)  # the rest of the machine was busy in the others
    design, times = design[quiet], times[quiet]
    indicators, owners = [np.ones(len(times))], [(-1, 0)]
    for shape in range(design.shape[1]):
        for way in range(1, int(design[:, shape].max(initial=0)) + 1):
            indicators.append((design[:, shape] == way).astype(np.float64))
            owners.append((shape, way))
    matrix = np.stack(indicators, axis=1)
    effects, *_ = np.linalg.lstsq(matrix, times, rcond=None)
    freedom = max(1, len(times) - matrix.shape[1])
    variance = float(((times - matrix @ effects) ** 2).sum()) / freedom
    errors = np.sqrt(variance * np.diag(np.linalg.pinv(matrix.T @ matrix)))
    best = [0] * design.shape[1]
    gain = [0.0] * design.shape[1]
    for (shape, way), effect, error in zip(owners, effects.tolist(), errors.tolist(), strict=True):
        if shape >= 0 and effect < min(gain[shape], -CERTAIN * error):
            best[shape], gain[shape] = way, effect
    return best
