"""A whole run on a small network: its results, its files, and what an interruption costs."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small import small_network

from mobiprox_core import bundle as bundles
from mobiprox_core import experiment as experiments
from mobiprox_core import measure, pipeline, plugins, profile, qos
from mobiprox_core.configuration import KnobSpace, Setting
from mobiprox_core.errors import DataError, MobiproxError, UsageError
from mobiprox_core.interfaces import Progress
from mobiprox_core.ledger import Journal
from mobiprox_core.resolve import resolve
from mobiprox_core.session import open_model
from mobiprox_core.stages import open_lab
from tests.fakes import distribution

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
  test: {dataset: arrays, split: "64:", inputs: data.npz, inputs_key: x, labels_key: y}
techniques:
  - perforation: {strides: [2, 3]}
  - filter_sampling: {strides: [2], refit: off}
search: {heuristic: knapsack, max_loss_pp: 60, levels: 4}
backend: {opencl: {threads: 1}}
strategy: state
trace: {dataset: arrays, split: all, inputs: data.npz, inputs_key: x, labels_key: y}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Network, data and experiment. The labels are what the exact network says, so that its accuracy is 100 %."""
    from onnx.reference import ReferenceEvaluator

    folder = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(7)
    model = small_network(rng)
    onnx.save(model, folder / "small.onnx")
    inputs = (rng.normal(0, 1, (112, 3, 1, 1)) + rng.normal(0, 1, (112, 3, 16, 16))).astype(np.float32)
    (outputs,) = ReferenceEvaluator(model).run(None, {"x": inputs})
    np.savez(folder / "data.npz", x=inputs, y=outputs.argmax(axis=1))
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    return folder


def run(folder: Path, out: Path, *, resume: bool = False, progress: Callable[[Progress], None] = lambda step: None) -> dict[str, Any]:
    registry = plugins.load()
    experiment = experiments.load(folder / "experiment.yaml", registry)
    return pipeline.run(experiment, registry, out, resume=resume, progress=progress, effort=QUICK).to_json()


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("out") / "run"
    return out, run(folder, out)


Finished = tuple[Path, dict[str, Any]]


def test_a_run_leaves_every_file(finished: Finished) -> None:
    out, _ = finished
    files = {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()}
    wanted = {"profile.json", "candidates.json", "front.json", "levels.json", "replay.json", "result.json", "run.json", "report.html"}
    assert files >= wanted | {f"bundle/{name}" for name in ("bundle.json", "plan.json", "weights.safetensors", "kernels/program.cl")}


def test_the_result_has_the_promised_keys(finished: Finished) -> None:
    out, result = finished
    assert result == json.loads((out / "result.json").read_text())
    assert result["schema"] == 1
    assert set(result["exact"]) >= {"tune_accuracy", "test_accuracy", "latency_ms"}
    level_keys = {"level", "qos_loss_pp", "test_qos_loss_pp", "latency_ms", "speedup", "settings"}
    assert all(set(level) >= level_keys for level in result["levels"])
    assert set(result["replay"]) >= {"accuracy", "relative_cost", "mean_level", "steps"}
    assert result["replay"]["steps"] == 112
    assert set(result["seconds"]) == {"profile", "search", "measure", "test", "bundle", "replay"}
    assert result["device"]["threads"] == 1
    provenance = result["provenance"]
    assert set(provenance) >= {"experiment", "plugins", "device", "seed"}
    assert "mobiprox-approx-perforation" in provenance["plugins"]


def test_the_exact_network_is_level_0_and_right(finished: Finished) -> None:
    _, result = finished
    assert result["exact"]["tune_accuracy"] == 1.0
    assert result["exact"]["test_accuracy"] == 1.0
    exact = result["levels"][0]
    assert (exact["level"], exact["qos_loss_pp"], exact["speedup"], exact["settings"]) == (0, 0.0, 1.0, {})


def test_levels_get_faster_and_lose_more(finished: Finished) -> None:
    _, result = finished
    levels = result["levels"]
    assert 2 <= len(levels) <= 4
    for before, after in itertools.pairwise(levels):
        assert after["speedup"] > before["speedup"]
    for before, after in itertools.pairwise(levels[1:]):
        assert after["qos_loss_pp"] > before["qos_loss_pp"]
    assert all(level["qos_loss_pp"] <= 60 for level in levels)


def test_the_profile_has_kept_and_dropped_settings_with_reasons(finished: Finished) -> None:
    out, _ = finished
    stored = profile.profile_from_json(json.loads((out / "profile.json").read_text()))
    assert {o.name for o in stored.operators} >= {"conv1", "conv2"}
    for operator in stored.operators:
        exact, *kept = operator.settings
        assert not exact.setting
        assert exact.divergence == 0
        assert all(s.latency_ms <= 0.95 * exact.latency_ms and s.divergence >= 0 for s in kept)
        assert all(not (s.latency_ms <= 0.95 * exact.latency_ms) or not np.isfinite(s.divergence) for s in operator.dropped)
    conv2 = next(o for o in stored.operators if o.name == "conv2")
    assert any(len(s.setting.parts) == 2 for s in conv2.settings + conv2.dropped), "settings of different slots are tried together"


def test_profiled_divergences_are_those_of_whole_runs(folder: Path, finished: Finished) -> None:
    """The profile shares the exact prefix of the network; here each setting runs the network from its input on."""
    from onnx.reference import ReferenceEvaluator

    out, _ = finished
    stored = profile.profile_from_json(json.loads((out / "profile.json").read_text()))
    inputs = np.load(folder / "data.npz")["x"][:64]
    chosen = inputs[[round(i * 63 / 31) for i in range(32)]]
    (exact,) = ReferenceEvaluator(onnx.load(folder / "small.onnx")).run(None, {"x": chosen})

    def log_softmax(scores: np.ndarray) -> np.ndarray:
        scores = scores.astype(np.float64)
        return scores - scores.max(1, keepdims=True) - np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1, keepdims=True))

    for operator in stored.operators[:2]:
        for profiled in operator.settings[1:4]:
            with open_model(folder / "small.onnx", batch=32, settings={operator.name: profiled.setting}) as model:
                approximated = model.run(chosen)
            p, q = log_softmax(exact), log_softmax(np.asarray(approximated))
            assert profiled.divergence == pytest.approx((np.exp(p) * (p - q)).sum(1).mean(), rel=1e-3, abs=1e-6)


def test_coupled_operators_are_measured_together_and_infeasible_settings_left_out(folder: Path, tmp_path: Path) -> None:
    registry = plugins.load()
    resolved = resolve(experiments.load(folder / "experiment.yaml", registry), registry)
    rows = Setting.of("perforation", axis="rows", offset=1, stride=2)
    contradiction = rows + Setting.of("perforation", axis="rows", offset=0, stride=2)
    coupled = replace(
        resolved,
        space=KnobSpace({"conv1": (rows, contradiction), "conv2": (rows,)}),
        couplings=(("conv1", "conv2"),),
    )
    with open_lab(coupled) as lab:
        found, _ = profile.profile(coupled, lab, Journal(tmp_path / "journal", ""), QUICK.profile, lambda step: None)
    first, second = (next(o for o in found.operators if o.name == name) for name in ("conv1", "conv2"))
    assert [str(s.setting) for o in (first, second) for s in (*o.settings, *o.dropped)] == ["exact", str(rows)] * 2
    shares = [s.divergence for o in (first, second) for s in o.settings[1:]]
    inputs = np.load(folder / "data.npz")["x"][[round(i * 63 / 31) for i in range(32)]]
    with (
        open_model(folder / "small.onnx", batch=32) as exact,
        open_model(folder / "small.onnx", batch=32, settings={"conv1": rows, "conv2": rows}) as both,
    ):
        whole = qos.divergence(np.asarray(exact.run(inputs)), np.asarray(both.run(inputs))).mean()
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(whole, rel=1e-3)


def test_the_bundle_has_the_levels_of_the_result(finished: Finished) -> None:
    out, result = finished
    bundle = bundles.read(out / "bundle")
    assert [point.configuration.to_json() for point in bundle.points] == [level["settings"] for level in result["levels"]]
    assert bundle.strategy is not None
    assert bundle.strategy.name == "state"


def contents(out: Path) -> dict[str, bytes]:
    volatile = ("result.json", "report.html")
    return {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file() and f.name not in volatile}


def test_resuming_a_finished_run_repeats_nothing(folder: Path, finished: Finished) -> None:
    out, result = finished
    before = contents(out)
    steps: list[Progress] = []
    again = run(folder, out, resume=True, progress=steps.append)
    assert contents(out) == before
    assert {step.note for step in steps if step.stage != "resolve"} == {"done before"}
    assert again["levels"] == result["levels"]


def test_the_same_profile_gives_the_same_candidates(folder: Path, finished: Finished, tmp_path: Path) -> None:
    out, _ = finished
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy" / "candidates.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "copy", resume=True, progress=interrupt_at("measure", 1))
    assert (tmp_path / "copy" / "candidates.json").read_bytes() == (out / "candidates.json").read_bytes()


def interrupt_at(stage: str, step: int) -> Callable[[Progress], None]:
    """A progress sink that interrupts the run, as Ctrl-C does, at a step of a stage."""
    seen = itertools.count(1)

    def sink(progress: Progress) -> None:
        if progress.stage == stage and next(seen) == step:
            raise KeyboardInterrupt

    return sink


@pytest.mark.parametrize(("stage", "step"), [("profile", 3), ("profile", 6), ("measure", 4), ("test", 1), ("replay", 1)])
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, tmp_path: Path, stage: str, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path, progress=interrupt_at(stage, step))
    kept = contents(tmp_path)
    assert "result.json" not in {f.name for f in tmp_path.iterdir()}
    result = run(folder, tmp_path, resume=True)
    after = contents(tmp_path)
    finished_files = json.loads(kept["run.json"])["stages"]
    for entry in finished_files.values():
        assert all(after[file] == kept[file] for file in entry["files"])
    journal = after["journal.jsonl"].decode().splitlines()
    assert after["journal.jsonl"].startswith(kept.get("journal.jsonl", b""))
    keys = [json.loads(line)["key"] for line in journal]
    assert len(keys) == len(set(keys)), "nothing was measured twice"
    assert len(result["levels"]) >= 2


def test_a_strategy_that_refuses_the_levels_is_told_of_before_the_bundle_ships(folder: Path, finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    (folder / "refused.yaml").write_text(EXPERIMENT.replace("strategy: state", "strategy: {guarded: {max_loss_pp: 0.1}}"))
    registry = plugins.load()
    wanted = experiments.load(folder / "refused.yaml", registry)
    with pytest.raises(UsageError, match="strategy guarded: 64 samples") as caught:
        pipeline.run(wanted, registry, tmp_path / "run", resume=True, effort=QUICK)
    assert "refused.yaml:12: strategy" in str(caught.value.where)


def test_a_changed_search_keeps_the_profile_and_says_what_changed(folder: Path, finished: Finished, tmp_path: Path) -> None:
    out, _ = finished
    shutil.copytree(out, tmp_path / "copy")
    changed = tmp_path / "experiment"
    shutil.copytree(folder, changed)
    # Three times as much is more than a setting can lose: with either limit the profile gives none up, however it was timed
    (changed / "experiment.yaml").write_text(EXPERIMENT.replace("max_loss_pp: 60", "max_loss_pp: 40"))
    notes: dict[str, list[str]] = {}
    run(changed, tmp_path / "copy", resume=True, progress=lambda p: notes.setdefault(p.stage, []).append(p.note))
    assert notes["profile"][0] == "done again, because of what changed: accepted loss"
    assert notes["profile"][1].endswith("measurements of earlier runs are at hand")
    assert notes["search"][0] == "done before"
    assert "limits and objectives" in notes["measure"][0]


WATTS = """
import time
from contextlib import contextmanager
from types import SimpleNamespace

class Watts:
    name, summary, options, about = "watts", "Two watts, always", {"type": "object", "properties": {}}, {"quality": "made up"}

    def problem(self):
        return None

    @contextmanager
    def measure(self):
        reading, began = SimpleNamespace(energy_mj=float("nan"), about=self.about), time.perf_counter()
        yield reading
        reading.energy_mj = 2000 * (time.perf_counter() - began)

@hookimpl
def mobiprox_meters():
    return [Watts()]
"""


def test_energy_is_measured_where_there_is_a_meter_and_nowhere_else(
    folder: Path, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finished[1]["energy"] is None
    assert all(level["energy_mj"] is None for level in finished[1]["levels"])
    distribution(tmp_path, "meter_watts", WATTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(finished[0], tmp_path / "run")
    (folder / "metered.yaml").write_text(EXPERIMENT + "energy: watts\n")
    registry = plugins.load()
    quick = replace(QUICK, measure=replace(QUICK.measure, energy_s=0.05))
    wanted = experiments.load(folder / "metered.yaml", registry)
    result = pipeline.run(wanted, registry, tmp_path / "run", resume=True, effort=quick).to_json()
    assert (result["energy"]["meter"], result["energy"]["quality"]) == ("watts", "made up")
    for level in result["levels"]:
        assert level["energy_mj"] == pytest.approx(2 * level["latency_ms"], rel=2)
    assert "mW, which is not subtracted" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("labels_key: y}\n  test", "labels_key: x}\n  test", DataError, "experiment.yaml:5: data.tune"),
        ("small.onnx", "data.npz", MobiproxError, "experiment.yaml:3: model"),
        ('split: "64:"', 'split: "400:"', DataError, "experiment.yaml:6: data.test"),
    ],
)
def test_what_does_not_fit_is_reported_with_its_line(
    folder: Path, tmp_path: Path, old: str, new: str, error: type[MobiproxError], words: str
) -> None:
    for file in ("small.onnx", "data.npz"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace(old, new))
    registry = plugins.load()
    with pytest.raises(error) as caught:
        pipeline.check(experiments.load(tmp_path / "experiment.yaml", registry), registry)
    assert words in str(caught.value)


def test_without_labels_the_loss_is_disagreement_with_the_exact_network(folder: Path, tmp_path: Path) -> None:
    for file in ("small.onnx", "data.npz"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace(", labels_key: y", ""))
    result = run(tmp_path, tmp_path / "out")
    assert result["exact"]["tune_accuracy"] is None
    assert result["exact"]["test_accuracy"] is None
    assert all(level["qos_loss_pp"] >= 0 for level in result["levels"])
    assert result["replay"]["accuracy"] is None
