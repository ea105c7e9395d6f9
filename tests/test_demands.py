"""Whole runs under other measures than accuracy, and under limits: networks that do not classify, demands that cannot be met."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from small import small_network

from mobiprox_core import cli, measure, pipeline, plugins, profile
from mobiprox_core import experiment as experiments
from mobiprox_core.errors import ExitCode, ExperimentError, LoweringError, MobiproxError
from mobiprox_core.resolve import resolve
from mobiprox_core.session import Session

pytestmark = pytest.mark.opencl

QUICK = pipeline.Effort(
    profile.Effort(samples=32, setting_s=0.01, output_s=1.0),
    measure.Effort(first=4, least=4, most=8, loss_s=0.5, round_s=0.02, confirm_s=0.05),
)

IMAGES = """
mobiprox: 1
model: {frontend: onnx, path: net.onnx}
data:
  tune: {dataset: arrays, split: "0:48", inputs: x.npy}
  test: {dataset: arrays, split: "48:", inputs: x.npy}
techniques: [perforation: {strides: [2, 3, 4]}, filter_sampling: {strides: [2, 3, 4], refit: off}]
qos: psnr
search: {heuristic: knapsack, max_loss: 55, levels: 5}
backend: {opencl: {threads: 1}}
"""

CLASSES = IMAGES.replace("qos: psnr\n", "").replace("max_loss: 55", "max_loss: 60, max_part_loss: 100")


def image_network(rng: np.random.Generator) -> onnx.ModelProto:
    """Random weights, image in, image out: [n, 3, 24, 24] -> [n, 3, 24, 24]."""
    shapes = {"w1": (32, 3, 3, 3), "w2": (32, 32, 3, 3), "w3": (3, 32, 3, 3)}
    weights = {name: rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape) for name, shape in shapes.items()}
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "conv1", pads=pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], "conv2", pads=pads),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["y"], "conv3", pads=pads),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 24, 24]) for name in "xy"]
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "images", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def prepared(folder: Path, model: onnx.ModelProto, size: int, text: str) -> Path:
    rng = np.random.default_rng(11)
    onnx.save(model, folder / "net.onnx")
    np.save(folder / "x.npy", (rng.normal(0, 1, (80, 3, 1, 1)) + rng.normal(0, 0.3, (80, 3, size, size))).astype(np.float32))
    return written(folder, text)


def written(folder: Path, text: str) -> Path:
    (folder / "experiment.yaml").write_text(text)
    return folder


def run(folder: Path, out: Path, *, resume: bool = False) -> dict[str, Any]:
    registry = plugins.load()
    experiment = experiments.load(folder / "experiment.yaml", registry)
    return pipeline.run(experiment, registry, out, resume=resume, effort=QUICK).to_json()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is known from other runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_network_of_random_weights_without_labels_is_tuned_by_its_signal_to_noise_ratio(tmp_path: Path) -> None:
    folder = prepared(tmp_path, image_network(np.random.default_rng(0)), 24, IMAGES)
    result = run(folder, tmp_path / "out")
    levels = result["levels"]
    assert result["qos"] == {"name": "psnr", "unit": "dB", "higher_is_better": True}
    assert result["exact"]["tune_score"] == pytest.approx(60)
    assert result["exact"]["tune_accuracy"] is None
    assert len(levels) >= 2
    assert not any(key.endswith("_pp") for level in levels for key in level)
    for before, after in itertools.pairwise(levels[1:]):
        assert after["qos_loss"] > before["qos_loss"]
        assert after["latency_ms"] < before["latency_ms"]
    inputs = np.load(folder / "x.npy")[48:]
    with Session.open(tmp_path / "out" / "bundle") as session:
        assert session.strategy is None
        exact = np.stack([session.infer(x).outputs for x in inputs])
        session.level = len(levels) - 1
        answers = [session.infer(x) for x in inputs]
    assert {(a.label, a.confidence) for a in answers} == {(-1, 0.0)}
    peak = np.sqrt(np.mean(np.abs(exact).max(axis=1) ** 2))
    error = np.mean((np.stack([a.outputs for a in answers]) - exact) ** 2)
    assert 60 - 10 * np.log10(peak**2 / error) == pytest.approx(levels[-1]["test_qos_loss"], abs=0.05)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "55.0 dB budget" in page
    assert " pp" not in page.split("<script")[0]


def test_what_a_measure_cannot_be_is_said_where_it_stands(tmp_path: Path) -> None:
    prepared(tmp_path, image_network(np.random.default_rng(0)), 24, IMAGES)
    registry = plugins.load()

    def refused(old: str, new: str, kind: type[MobiproxError]) -> str:
        folder = written(tmp_path, IMAGES.replace(old, new))
        with pytest.raises(kind) as caught:
            resolve(experiments.load(folder / "experiment.yaml", registry), registry)
        return str(caught.value)

    assert "experiment.yaml:9: search.max_loss_pp: losses of 'psnr' are no percentage points, but dB" in refused(
        "max_loss: 55", "max_loss_pp: 5", ExperimentError
    )
    assert "say how its outputs are judged: 'qos: mse'" in refused("qos: psnr\n", "", LoweringError)
    assert "strategies go by labels" in refused("backend:", "strategy: state\nbackend:", ExperimentError)
    assert "'accuracy' needs one score per class" in refused("qos: psnr\n", "qos: accuracy\n", MobiproxError)


def test_demands_that_nothing_meets_name_every_limit_and_lose_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.run, "__defaults__", (*(pipeline.run.__defaults__ or ())[:-1], QUICK))
    text = CLASSES.replace("levels: 5", "levels: 5, max_latency_ms: 0.000001, max_size_mb: 0.000001")
    folder = prepared(tmp_path, small_network(np.random.default_rng(2)), 16, text)
    done = CliRunner().invoke(cli.main, ["run", str(folder / "experiment.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == ExitCode.TARGET_MISSED
    first, *words = [line.strip() for line in done.stderr.splitlines() if not line.startswith("[")]
    assert "experiment.yaml:8: search: none of " in first
    assert words[0].startswith("max_latency_ms 1e-06 ms: what comes nearest to all limits has ")
    assert words[1].startswith("max_size_mb 1e-06 MB: what comes nearest to all limits has ")
    assert words[-1].startswith("all measurements are kept")
    known = {file: file.read_text() for file in (tmp_path / "cache" / "mobiprox").glob("*/*.jsonl")}
    assert {file.parent.name for file in known} == {"profiles", "losses"}
    result = run(written(folder, CLASSES), tmp_path / "out", resume=True)
    assert len(result["levels"]) >= 2
    profiled = {file for file in known if file.parent.name == "profiles"}
    assert all(file.read_text() == known[file] for file in profiled), "nothing was profiled again"


@pytest.mark.slow
def test_small_levels_are_preferred_where_size_is_to_be_saved(tmp_path: Path) -> None:
    folder = prepared(tmp_path, small_network(np.random.default_rng(2)), 16, CLASSES.replace("levels: 5", "levels: 5, minimize: size"))
    levels = run(folder, tmp_path / "out")["levels"]
    [known] = (tmp_path / "cache" / "mobiprox" / "profiles").iterdir()
    before = known.read_text()
    run(folder, tmp_path / "elsewhere")
    assert known.read_text() == before, "another run in another folder takes the profile over"
    sizes = [level["size_bytes"] for level in levels]
    assert len(levels) >= 2
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.99 * sizes[0]
