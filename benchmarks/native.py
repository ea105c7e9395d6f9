"""What the native runtime costs beside the Python runner, and beside the OpenCL driver.

    python benchmarks/native.py [MODEL.onnx ...] [--threads 1] [--seconds 10]

Per network: one inference of the native runtime over the kernel time of the Python runner (all operators of the exact network in one
launch, repeated, so that nothing but kernels is timed), in interleaved rounds, with their quartiles; nanoseconds of a switch of
levels; and resident memory beyond that of a runtime with a tiny network (which is the driver's), beside bundle and arena.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mobiprox_backend_native.build import build_runner, host_environment
from mobiprox_backend_native.host import NativeRunner
from mobiprox_backend_native.host import open_device as open_native
from mobiprox_backend_native.served import unmeasured
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import open_device as open_python

from mobiprox_core import bundle as bundles
from mobiprox_core import plugins
from mobiprox_core.cache import cache_folder
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.plan import ExecutionPlan

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits" / "digits.onnx"
ROUNDS = 12


def resident_bytes(plan: ExecutionPlan, device: Any) -> int:
    """Of a runtime that serves a plan, kernels from the cache, one inference done."""
    for _ in range(2):  # the second finds the compiled program
        runner: NativeRunner = device.load(plan)
        runner.run(*(np.zeros(slot.shape, np.float32) for slot in plan.inputs))
        status = Path(f"/proc/{runner._process.pid}/status").read_text()
        runner.close()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def switch_ns(folder: Path) -> float:
    command = [str(build_runner(cache_folder() / "native")), "--profile", str(folder), "--rounds", "1", "--seconds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=host_environment())
    return next(float(event["ns"]) for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "switch")


def measured(model: Path, threads: int, seconds: float) -> dict[str, Any]:
    network = Network.from_model(plugins.load().get("frontend", "onnx").load({"path": model.name}, model.parent), model.stem)
    graph = network.at_batch(network.batch or 1)
    ours, python = open_native({"threads": threads}), open_python({"threads": threads})
    plan = lower(graph, ours.info, {}, {})
    native, reference = ours.load(plan), python.load(lower(graph, python.info, {}, {}))
    x = [np.random.default_rng(0).standard_normal(slot.shape).astype(np.float32) for slot in plan.inputs]
    native.run(*x)
    reference.run(*x)
    every, exact = range(len(plan.operators)), plan.levels[0]
    rows = []
    for _ in range(ROUNDS):
        share = seconds / ROUNDS / 3
        kernels = np.median(reference.time(every, [exact], share)[0])
        rows.append([kernels, np.median(native.time(None, [exact], share)[0]), np.median(reference.time(None, [exact], share)[0])])
    native.close()
    reference.close()
    times = np.array(rows)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "bundle"
        bundles.write(unmeasured(plan), folder)
        bundle = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        switch = switch_ns(folder)
    small = lower(trial.network(), ours.info, {}, {})
    return {
        "network": model.stem,
        "threads": ours.info.threads,
        "kernels_ms": float(np.median(times[:, 0])),
        "native_ms": float(np.median(times[:, 1])),
        "python_ms": float(np.median(times[:, 2])),
        "native over kernels": np.percentile(times[:, 1] / times[:, 0], [25, 50, 75]).round(3).tolist(),
        "python over kernels": np.percentile(times[:, 2] / times[:, 0], [25, 50, 75]).round(3).tolist(),
        "switch_ns": switch,
        "bundle_mb": bundle / 1e6,
        "arena_mb": 4 * plan.arena_elements / 1e6,
        "resident_mb": (resident_bytes(plan, ours) - resident_bytes(small, ours)) / 1e6,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*", type=Path, default=[DIGITS])
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--seconds", type=float, default=10.0)
    given = arguments.parse_args()
    for model in given.models:
        print(json.dumps(measured(model, given.threads, given.seconds)), flush=True)


if __name__ == "__main__":
    main()
