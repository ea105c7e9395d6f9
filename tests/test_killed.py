"""Runs that are killed, not asked to end: nothing that was measured is lost, and what comes out does not depend on it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from small import small_network

pytestmark = pytest.mark.opencl

EXPERIMENT = """
mobiprox: 1
model: {frontend: onnx, path: small.onnx}
data:
  tune: {dataset: arrays, split: "0:64", inputs: data.npz, inputs_key: x}
  test: {dataset: arrays, split: "64:", inputs: data.npz, inputs_key: x}
techniques: [perforation: {strides: [2, 3]}, filter_sampling: {strides: [2], refit: off}]
search: {heuristic: knapsack, max_loss: 60, levels: 4}
backend: {opencl: {threads: 1}}
"""

RUN = """
import sys
from pathlib import Path
from mobiprox_core import experiment, measure, pipeline, plugins, profile
registry = plugins.load()
effort = pipeline.Effort(
    profile.Effort(samples=64, setting_s=0.01, output_s=1.0),
    measure.Effort(first=4, least=4, most=8, loss_s=0.5, round_s=0.02, confirm_s=0.05),
)
pipeline.run(experiment.load("experiment.yaml", registry), registry, Path(sys.argv[1]), resume=True, effort=effort)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    rng = np.random.default_rng(5)
    onnx.save(small_network(rng), folder / "small.onnx")
    np.savez(folder / "data.npz", x=(rng.normal(0, 1, (96, 3, 1, 1)) + rng.normal(0, 1, (96, 3, 16, 16))).astype(np.float32))
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    return folder


def start(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"XDG_CACHE_HOME": str(out.parent / "cache")}
    return subprocess.Popen([sys.executable, "-c", RUN, str(out)], cwd=folder, env=environment, stderr=subprocess.PIPE)


def finish(folder: Path, out: Path) -> float:
    """Seconds."""
    begin = time.perf_counter()
    process = start(folder, out)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return time.perf_counter() - begin


def journals(out: Path) -> dict[str, list[str]]:
    """File -> its whole lines."""
    files = [out / "journal.jsonl", *(out.parent / "cache" / "mobiprox").glob("*/*.jsonl")]
    return {file.name: file.read_text().split("\n")[:-1] for file in files if file.exists()}


def front(out: Path) -> object:
    return json.loads((out / "front.json").read_text())


@pytest.fixture(scope="module")
def whole_s(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a run takes that nobody disturbs."""
    return finish(folder, tmp_path_factory.mktemp("whole") / "out")


@pytest.mark.parametrize("moment", [0, *(pytest.param(m, marks=pytest.mark.slow) for m in range(1, 20))])
def test_a_run_killed_at_any_moment_is_taken_up_without_measuring_anything_twice(
    folder: Path, tmp_path: Path, whole_s: float, moment: int
) -> None:
    out = tmp_path / "out"
    process = start(folder, out)
    time.sleep(random.Random(moment).uniform(0.3, 0.95) * whole_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = journals(out)
    finish(folder, out)
    after = journals(out)
    for name, lines in before.items():
        assert after[name][: len(lines)] == lines, "what was measured stays"
    keys = Counter(json.loads(line)["key"] for lines in after.values() for line in lines if line)
    assert max(keys.values()) == 1, "nothing was measured twice but what was in progress"
    measured = front(out)
    (out / "run.json").unlink()  # as if no stage had been finished: everything again, from the journals alone
    finish(folder, out)
    assert front(out) == measured
    assert journals(out) == after
