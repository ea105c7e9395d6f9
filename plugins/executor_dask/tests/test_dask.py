"""Two worker processes on this machine: the same losses as without them, also when one of them dies on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from mobiprox_executor_dask.executor import Cluster, Dask

from mobiprox_core import experiment, pipeline, plugins
from mobiprox_core.errors import DeviceError, ExperimentError
from mobiprox_core.experiment import Choice
from mobiprox_core.lowering import lower
from mobiprox_core.measure import Effort as MeasureEffort
from mobiprox_core.network import Network
from mobiprox_core.profile import Effort as ProfileEffort
from mobiprox_core.testing import ExecutorContract

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "digits.onnx"

EFFORT = pipeline.Effort(
    ProfileEffort(samples=32, setting_s=0.004, output_s=1000),
    MeasureEffort(first=3, least=3, most=4, loss_s=0.1, round_s=0.02, confirm_s=0.02),
)
"""So little that what fits into the time does not depend on the machine."""

EXPERIMENT = """
mobiprox: 1
model: {{frontend: onnx, path: {digits}}}
data:
  tune: {{dataset: digits, split: tune, limit: 96}}
  test: {{dataset: digits, split: test, limit: 64}}
techniques:
  - perforation: {{strides: [2]}}
search: {{heuristic: knapsack, max_loss_pp: 20, levels: 3, recalibrate: "off"}}
backend: {{opencl: {{device: basic}}}}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, resources={"mobiprox-target": 1}) as made:
        yield made


class TestDask(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Dask:
        return Dask()

    @pytest.fixture
    def options(self, cluster: LocalCluster) -> dict[str, str]:
        return {"scheduler": cluster.scheduler_address}


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, executor: str = "") -> Path:
    """One run with a cache of its own, so that it measures everything itself."""
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    (folder / "experiment.yaml").write_text(EXPERIMENT.format(digits=DIGITS) + executor, encoding="utf-8")
    registry = plugins.load()
    pipeline.run(experiment.load(folder / "experiment.yaml", registry), registry, folder / "out", effort=EFFORT)
    return folder / "out"


def losses(folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Divergence and loss of every setting that was looked at, by operator and setting."""
    profile = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    rows = ((o["name"], row) for o in profile["operators"] for row in o["settings"])
    return {(name, row["setting"]): (row["divergence"], row["loss"]) for name, row in rows if row["divergence"]}


def test_a_cluster_profiles_as_this_machine_does_though_a_worker_is_lost(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run(tmp_path / "here", monkeypatch)
    address = cluster.scheduler_address
    with Client(address, set_as_default=False) as client:
        victim = sorted(client.run(os.getpid).values())[0]
    real, done = Cluster.outputs, []

    def outputs(self: Cluster, *given: Any) -> Iterator[Any]:
        for answer in real(self, *given):
            if len(done) == 1:
                os.kill(victim, signal.SIGKILL)
            done.append(answer[0])
            yield answer

    monkeypatch.setattr(Cluster, "outputs", outputs)
    there = run(tmp_path / "there", monkeypatch, f'executor: {{dask: {{scheduler: "{address}"}}}}\n')
    assert len(done) > 4
    ours, theirs = losses(here), losses(there)
    common = ours.keys() & theirs.keys()
    assert len(common) >= 2, "which settings pay is timed, but some do for sure"
    for key in common:
        assert theirs[key] == pytest.approx(ours[key], rel=1e-4, abs=1e-7)


def test_latencies_are_those_of_a_worker_that_declares_the_device(cluster: LocalCluster) -> None:
    network = Network.from_model(plugins.load().get("frontend", "onnx").load({"path": DIGITS.name}, DIGITS.parent), "digits")
    sample = np.zeros((1, 1, 32, 32), np.float32)
    for target, timed in (("mobiprox-target", True), ("nobody-has-this", False)):
        workers = Dask().open({"scheduler": cluster.scheduler_address, "target": target}, Choice("opencl", {"device": "basic"}))
        try:
            found = workers.time(lambda info: lower(network.at_batch(1), info, {}, {}), sample, None, [[0] * 64], 0.05)
        finally:
            workers.close()
        assert (found is not None) == timed
        assert found is None or float(np.median(found[0])) > 0


def test_no_scheduler_is_an_error_that_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobiprox_executor_dask.executor.CONNECT_S", 0.2)
    with pytest.raises((DeviceError, ExperimentError), match=r"no Dask scheduler at tcp://127\.0\.0\.1:9") as caught:
        run(tmp_path / "none", monkeypatch, 'executor: {dask: {scheduler: "tcp://127.0.0.1:9"}}\n')
    assert "executor" in str(caught.value.where)


def test_workers_that_cannot_open_the_backend_are_named(cluster: LocalCluster) -> None:
    with pytest.raises(DeviceError, match=r"no worker of .* can open the backend 'opencl'; .*nothing-like-this"):
        Dask().open({"scheduler": cluster.scheduler_address}, Choice("opencl", {"device": "nothing-like-this"}))
