"""Random switches of levels in several processes at once: nothing but time may depend on who else is running."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from mobiprox_approx_filter_sampling.plugin import mobiprox_techniques as sampling
from mobiprox_approx_perforation.plugin import mobiprox_techniques as perforation
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import caller_of, find, open_device
from mobiprox_backend_opencl.runner import OpenCLDevice

from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.lowering import lower

pytestmark = pytest.mark.opencl

SWITCHES = """
import json, sys
from pathlib import Path
import numpy as np
from mobiprox_approx_filter_sampling.plugin import mobiprox_techniques as sampling
from mobiprox_approx_perforation.plugin import mobiprox_techniques as perforation
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import open_device
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.lowering import lower

count, seed = int(sys.argv[1]), int(sys.argv[2])
techniques = {t.name: t for t in (*perforation(), *sampling())}
levels = [Configuration({name: Setting.parse(text) for name, text in level.items()}) for level in json.loads(sys.argv[3])]
device, graph = open_device({}), trial.network()
x = np.random.default_rng(7).standard_normal((2, 3, 8, 8)).astype(np.float32)
alone = []
for level in levels:  # a plan of its own, that never switches
    runner = device.load(lower(graph, device.info, techniques, {}, [level]))
    runner.set_level(len(runner.plan.levels) - 1)
    alone.append(runner.run(x))
    runner.close()
runner = device.load(lower(graph, device.info, techniques, {}, levels))
page = 4096
wrong, before = 0, 0
for step, level in enumerate(np.random.default_rng(seed).integers(0, len(levels), count)):
    runner.set_level(int(level))
    wrong += not np.array_equal(runner.run(x), alone[level])
    if step == count // 10:
        before = int(Path("/proc/self/statm").read_text().split()[1])
grown = int(Path("/proc/self/statm").read_text().split()[1]) - before
print(json.dumps({"wrong": wrong, "grown_bytes": grown * page}))
"""
LEVELS = (
    {},
    {"c2": "perforation(axis=rows, offset=1, stride=2)"},
    {
        "c2": "perforation(axis=rows, offset=1, stride=2) + perforation(axis=columns, offset=0, stride=3)",
        "c3": "filter_sampling(offset=0, stride=2)",
    },
    {"c1": "filter_sampling(offset=0, stride=2)", "c4": "perforation(axis=columns, offset=0, stride=3)"},
)
INFERENCES = 10_000
X = np.random.default_rng(7).standard_normal((2, 3, 8, 8)).astype(np.float32)


@contextmanager
def busy_neighbour(present: bool) -> Iterator[None]:
    """A process that does nothing but compute."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if present else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads resident memory from /proc")
@pytest.mark.parametrize("busy", [False, True], ids=["two processes", "two processes and a busy one"])
def test_outputs_are_those_of_plans_that_never_switch_and_memory_stays_flat(busy: bool) -> None:
    with busy_neighbour(busy):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", SWITCHES, str(INFERENCES), str(seed), json.dumps(LEVELS)], stdout=subprocess.PIPE, text=True
            )
            for seed in (1, 2)
        ]
        said = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    assert [one["wrong"] for one in said] == [0, 0]
    assert all(one["grown_bytes"] < 4 << 20 for one in said), said


@pytest.mark.parametrize("led", [False, True], ids=["groups of one launch", "the calling thread and helpers"])
def test_more_groups_than_workers_are_no_deadlock_and_give_the_same_bits(led: bool) -> None:
    """A work-item waits only for units that a running one has claimed, so groups that never start are not missed."""
    usual = open_device({})
    found = find()
    own = next(d for d in found if d.handle == usual.handle)
    techniques = {t.name: t for t in (*perforation(), *sampling())}
    levels = [Configuration({name: Setting.parse(text) for name, text in level.items()}) for level in LEVELS]
    plan = lower(trial.network(), usual.info, techniques, {}, levels)
    crowd = OpenCLDevice(own.handle, replace(usual.info, threads=8 * own.compute_units), False, caller_of(own, found) if led else None)
    few, many = usual.load(plan), crowd.load(plan)
    for level in np.random.default_rng(3).integers(0, len(levels), 60):
        few.set_level(int(level))
        many.set_level(int(level))
        np.testing.assert_array_equal(many.run(X), few.run(X))
    few.close()
    many.close()
