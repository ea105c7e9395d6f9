"""A whole run whose settings are fitted: what it fits to, what it compares on, and what it ships."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small import small_network

from mobiprox_core import bundle as bundles
from mobiprox_core import experiment as experiments
from mobiprox_core import measure, pipeline, plugins, profile, reference
from mobiprox_core.configuration import Configuration
from mobiprox_core.errors import DataError, UsageError
from mobiprox_core.interfaces import Progress
from mobiprox_core.recalibration import Recalibrator
from mobiprox_core.resolve import Resolved, resolve
from mobiprox_core.session import Session, open_model
from mobiprox_core.statistics import Calibration

pytestmark = pytest.mark.opencl

QUICK = pipeline.Effort(
    profile.Effort(samples=32, setting_s=0.005, output_s=1.0),
    measure.Effort(first=4, least=4, most=8, loss_s=0.5, round_s=0.02, confirm_s=0.05),
)

EXPERIMENT = """
mobiprox: 1
model: {frontend: onnx, path: small.onnx}
data:
  tune: {dataset: arrays, split: "0:64", inputs: data.npz, inputs_key: x, labels_key: y}
  test: {dataset: arrays, split: "64:112", inputs: data.npz, inputs_key: x, labels_key: y}
techniques:
  - filter_sampling: {strides: [2, 4]}
search: {heuristic: knapsack, max_loss_pp: 60, levels: 4}
backend: {opencl: {threads: 1}}
"""
CALIBRATE = '  calibrate: {dataset: arrays, split: "112:%d", inputs: data.npz, inputs_key: x}\ntechniques:'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Network and data. The labels are what the exact network says."""
    from onnx.reference import ReferenceEvaluator

    folder = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(7)
    model = small_network(rng)
    onnx.save(model, folder / "small.onnx")
    inputs = rng.normal(0, 1, (160, 3, 1, 1)) + rng.normal(0, 1, (160, 3, 16, 16))
    inputs = (inputs + np.roll(inputs, 1, 2) + np.roll(inputs, 1, 3)).astype(np.float32)  # neighbours have something in common
    (outputs,) = ReferenceEvaluator(model).run(None, {"x": inputs})
    np.savez(folder / "data.npz", x=inputs, y=outputs.argmax(axis=1))
    (folder / "default.yaml").write_text(EXPERIMENT)
    (folder / "given.yaml").write_text(EXPERIMENT.replace("techniques:", CALIBRATE % 160))
    (folder / "less.yaml").write_text(EXPERIMENT.replace("techniques:", CALIBRATE % 150))
    (folder / "paper.yaml").write_text(EXPERIMENT.replace("strides: [2, 4]", "strides: [2, 4], refit: off"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Statistics and fits of these tests; verdicts on the device stay where they are."""
    from mobiprox_core import statistics

    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setattr(statistics, "cache_folder", lambda: place)
        yield place / "statistics"


def resolved(folder: Path, name: str) -> Resolved:
    registry = plugins.load()
    return resolve(experiments.load(folder / f"{name}.yaml", registry), registry)


def run(folder: Path, name: str, out: Path, *, resume: bool = False) -> tuple[dict[str, Any], list[Progress]]:
    registry, steps = plugins.load(), list[Progress]()
    experiment = experiments.load(folder / f"{name}.yaml", registry)
    return pipeline.run(experiment, registry, out, resume=resume, progress=steps.append, effort=QUICK).to_json(), steps


Finished = tuple[Path, dict[str, Any], list[Progress]]


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("out") / "run"
    return out, *run(folder, "default", out)


def test_without_calibration_data_some_tuning_inputs_are_fitted_to_and_the_others_compared_on(folder: Path) -> None:
    found = resolved(folder, "default")
    assert found.calibrate is not None
    looked_at = found.tune.inputs[found.unfitted]
    assert len(found.calibrate) == 52
    assert len(looked_at) == 12
    assert not {x.tobytes() for x in found.calibrate} & {x.tobytes() for x in looked_at}


def test_calibration_data_are_fitted_to_and_all_tuning_inputs_compared_on(folder: Path) -> None:
    found = resolved(folder, "given")
    assert found.calibrate is not None
    np.testing.assert_array_equal(found.calibrate, np.load(folder / "data.npz")["x"][112:])
    assert len(found.unfitted) == 64


def test_calibration_data_that_the_network_cannot_take_are_refused_with_their_line(folder: Path, tmp_path: Path) -> None:
    np.savez(folder / "other.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    text = EXPERIMENT.replace("techniques:", '  calibrate: {dataset: arrays, split: "0:4", inputs: other.npz, inputs_key: x}\ntechniques:')
    (folder / "wrong.yaml").write_text(text)
    with pytest.raises(DataError, match=r"wrong.yaml:7: data.calibrate"):
        resolved(folder, "wrong")


def test_fitted_settings_cost_what_the_rescaled_ones_cost_and_change_less(finished: Finished) -> None:
    out, _, _ = finished
    stored = profile.profile_from_json(json.loads((out / "profile.json").read_text()))
    every = {o.name: {str(s.setting): s for s in (*o.settings, *o.dropped)} for o in stored.operators}
    pairs = [
        (found[plain], found[plain.replace(", stride", ", refit=independent, stride")])
        for found in every.values()
        for plain in found
        if "offset" in plain and "refit" not in plain
    ]
    assert len(pairs) == 12  # two convolutions, two offsets at stride 2 and four at stride 4
    assert all(plain.latency_ms == fitted.latency_ms for plain, fitted in pairs)
    measured = [(p.divergence, f.divergence) for p, f in pairs if np.isfinite(p.divergence)]
    assert measured
    assert sum(fitted < plain for plain, fitted in measured) > len(measured) / 2
    assert any("choose=error" in setting for setting in every["conv2"])


def test_few_calibration_inputs_are_warned_of_and_told_in_the_result(finished: Finished) -> None:
    _, result, steps = finished
    assert any(step.stage == "calibrate" and "only 52 inputs" in step.note for step in steps)
    assert result["provenance"]["calibration inputs"] == 52


def test_the_bundle_computes_what_the_fitted_settings_mean(folder: Path, finished: Finished) -> None:
    out, result, _ = finished
    fitted = [level for level in result["levels"] if any("refit" in s or "choose" in s for s in level["settings"].values())]
    assert fitted, "no level has a fitted setting"
    registry, found = plugins.load(), resolved(folder, "default")
    device = registry.get("backend", "opencl").open({"threads": 1})
    assert found.calibrate is not None
    known = Calibration(found.network, device, found.calibrate)
    corrections = Recalibrator(known, found.techniques, "affine")
    graph = found.network.at_batch(1)
    [x] = np.load(folder / "data.npz")["x"][64:65]
    with Session.open(out / "bundle") as session:
        session.strategy = None
        for level in fitted:
            session.level = level["level"]
            configuration = Configuration.from_json(level["settings"])
            correction = corrections(configuration)
            assert "conv2" in correction
            (expected,) = reference.run(graph, [x[None]], configuration, found.techniques, known, correction)
            np.testing.assert_allclose(session.infer(x).outputs, expected[0], rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    device.close()


def test_other_calibration_inputs_are_another_run(folder: Path, tmp_path: Path) -> None:
    run(folder, "given", tmp_path / "run")
    _, steps = run(folder, "less", tmp_path / "run", resume=True)
    notes = {step.stage: step.note for step in reversed(steps)}
    assert "calibration" in notes["profile"]
    _, steps = run(folder, "less", tmp_path / "run", resume=True)
    assert {step.note for step in steps if step.stage in ("profile", "search", "measure", "test", "bundle")} == {"done before"}


def test_a_resumed_run_needs_no_cache(folder: Path, finished: Finished, cache: Path, tmp_path: Path) -> None:
    out, result, _ = finished
    shutil.copytree(out, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "bundle")
    for file in cache.glob("*"):
        file.unlink()
    again, _ = run(folder, "default", tmp_path / "copy", resume=True)
    assert again["levels"] == result["levels"]
    first, second = (bundles.read(path / "bundle").plan for path in (out, tmp_path / "copy"))
    for ours, theirs in zip(first.constants, second.constants, strict=True):
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=1e-6)


def test_the_paper_s_techniques_calibrate_nothing(folder: Path, cache: Path, tmp_path: Path) -> None:
    found = resolved(folder, "paper")
    assert found.calibrate is None
    assert len(found.unfitted) == 64
    before = set(cache.glob("*"))
    result, steps = run(folder, "paper", tmp_path / "run")
    assert set(cache.glob("*")) == before
    assert not any(step.stage == "calibrate" for step in steps)
    assert result["provenance"]["calibration inputs"] == 0


# ------------------------------------------------------------------------------------------------------------ without a search

REFIT = "filter_sampling(offset=0, refit=independent, stride=2)"


def test_a_model_can_be_fitted_to_inputs_without_a_search(folder: Path) -> None:
    inputs = np.load(folder / "data.npz")["x"]
    tried = {"exact": {}, "plain": {"conv2": "filter_sampling(offset=0, stride=2)"}, "fitted": {"conv2": REFIT}}
    outputs = {}
    for name, settings in tried.items():
        with open_model(folder / "small.onnx", batch=48, settings=settings, calibrate=inputs[:112]) as model:
            outputs[name] = np.asarray(model.run(inputs[112:]))
            assert REFIT in {str(setting) for setting in model.operators[1].settings}
    off = {name: np.abs(values - outputs["exact"]).mean() for name, values in outputs.items()}
    assert 0 < off["fitted"] < off["plain"] / 2


def test_a_fitted_setting_without_inputs_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="fitted to calibration inputs, and there are none"):
        open_model(folder / "small.onnx", settings={"conv2": REFIT})
    with pytest.raises(DataError, match="3, 8, 8"):
        open_model(folder / "small.onnx", settings={"conv2": REFIT}, calibrate=np.zeros((4, 3, 8, 8), np.float32))
