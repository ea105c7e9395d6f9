"""Times switching all operators of MobileNetV2 at once: to another level, and to any choice of variants.

python benchmarks/switching.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median

from bundles import mobilenetv2_bundle

import mobiprox_core as mobiprox

BATCH, BATCHES = 200, 51


def microseconds(switch: Callable[[], None]) -> float:
    """Of one call: the median over batches of calls."""
    found = []
    for _ in range(BATCHES):
        begin = time.perf_counter()
        for _ in range(BATCH):
            switch()
        found.append(1e6 * (time.perf_counter() - begin) / BATCH)
    return median(found)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mobiprox-switching-") as folder:
        bundle = mobilenetv2_bundle(Path(folder) / "bundle", levels=10)
        with mobiprox.Session.open(bundle) as session:
            runner = session._runner
            plan = runner.plan
            levels, choices = cycle(range(session.levels)), cycle(plan.levels)
            changed = min(sum(a != b for a, b in zip(plan.levels[0], level, strict=True)) for level in plan.levels[1:])
            print(f"{len(plan.operators)} operators, at least {changed} of which change from level 0 to another")
            for name, switch in {
                "session.level = level": lambda: setattr(session, "level", next(levels)),
                "runner.set_level(level)": lambda: runner.set_level(next(levels)),
                "runner.select(variants)": lambda: runner.select(next(choices)),
            }.items():
                print(f"{name:<26}{microseconds(switch):7.2f} us")


if __name__ == "__main__":
    main()
