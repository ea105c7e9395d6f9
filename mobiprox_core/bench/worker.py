"""One engine in a process of its own: ``python -m mobiprox_core.bench.worker``. JSON lines in on stdin, JSON lines out on stdout.

===========  =====================================================  ==========================================================
do           with                                                   answer
===========  =====================================================  ==========================================================
load         engine, task (inputs: path of an .npz file)            the engine's `about`
run          variants (Mobiprox), outputs: path of an .npz file     {}; the outputs are in the file
time         variants (Mobiprox), seconds                           calls, median_ms, p10_ms, p90_ms, seconds, cores, others
operators    seconds                                                times_ms: per operator, per variant
peak                                                                gflops
===========  =====================================================  ==========================================================

Every answer has `waited`: seconds that this process waited for the line, and processor seconds that it used meanwhile, which should
be none. An error is ``{"error": {kind, what, where, mend}}``. The end of stdin is the end of the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MobiproxError
from . import engines
from .engines import OURS, Mobiprox
from .noise import Clock, Load
from .ratios import quantile
from .task import Engine, Task

SETTLE_S = 0.01
MOST_SETTLE_S = 1.0
WARM_SHARE = 0.15
"""Of a block, run before its timing starts: caches and clock rate are those of the last contender."""
FEWEST_CALLS = 5


class Worker:
    """Answers requests. Holds one engine."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        what = {key: value for key, value in request.items() if key != "do"}
        answer: Mapping[str, Any] = getattr(self, f"do_{request['do']}")(**what)
        return answer

    def do_load(self, engine: str, task: Mapping[str, Any]) -> Mapping[str, Any]:
        import numpy as np

        with np.load(task["inputs"]) as file:
            inputs = tuple(file[f"arr_{i}"] for i in range(len(file.files)))
        calibrate = {"calibrate": np.load(task["calibrate"])} if "calibrate" in task else {}
        self._engine = engines.load(engine, Task(**{**task, "inputs": inputs, **calibrate}))
        return self._engine.about

    def do_run(self, outputs: str, variants: Sequence[int] | None = None) -> Mapping[str, Any]:
        import numpy as np

        np.savez(outputs, *self._chosen(variants).run())
        return {}

    def do_time(self, seconds: float, variants: Sequence[int] | None = None) -> Mapping[str, Any]:
        run = self._chosen(variants).run
        warm = time.perf_counter() + WARM_SHARE * seconds
        run()
        while time.perf_counter() < warm:
            run()
        begin = Clock.now()
        end = begin.wall_s + seconds
        times: list[float] = []
        now = begin.wall_s
        while now < end or len(times) < FEWEST_CALLS:
            before = time.perf_counter()
            run()
            now = time.perf_counter()
            times.append(1e3 * (now - before))
        load = Load.between(begin, Clock.now())
        return {
            "calls": len(times),
            "median_ms": quantile(times, 0.5),
            "p10_ms": quantile(times, 0.1),
            "p90_ms": quantile(times, 0.9),
            "seconds": load.seconds,
            "cores": load.cores,
            "others": load.others,
        }

    def do_operators(self, seconds: float) -> Mapping[str, Any]:
        return {"times_ms": self._ours().operators(seconds)}

    def do_peak(self) -> Mapping[str, Any]:
        return {"gflops": self._ours().peak()}

    def _chosen(self, variants: Sequence[int] | None) -> Engine:
        if variants is not None:
            self._ours().choose(variants)
        assert self._engine is not None
        return self._engine

    def _ours(self) -> Mobiprox:
        assert isinstance(self._engine, Mobiprox), f"only {OURS} does that"
        return self._engine


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    worker = Worker()
    left = Clock.now()
    for line in sys.stdin:
        idle = Load.between(left, Clock.now())
        try:
            answer = dict(worker.answer(json.loads(line)))
        except MobiproxError as error:
            answer = {"error": {"kind": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}}
        _settle()
        left = Clock.now()
        answers.write(json.dumps({**answer, "waited": [idle.seconds, idle.seconds * idle.cores]}) + "\n")
        answers.flush()


def _settle() -> None:
    """Wait until threads that spin after their work (ONNX Runtime's, OpenMP's) are asleep, so that the next engine is alone."""
    end = time.perf_counter() + MOST_SETTLE_S
    still = 0
    while still < 3 and time.perf_counter() < end:  # a spinning thread that got no core looks asleep for a while
        used = time.process_time()
        time.sleep(SETTLE_S)
        still = still + 1 if time.process_time() - used < 0.05 * SETTLE_S else 0


if __name__ == "__main__":
    main()
