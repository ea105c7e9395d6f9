"""Whole experiments on the test device: the same losses as on this machine, and interruptions that cost next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adb_device import Device
from mobiprox_backend_android import device as devices
from mobiprox_backend_android.plugin import Android
from mobiprox_backend_opencl.plugin import OpenCL

from mobiprox_core import experiment as experiments
from mobiprox_core import measure, pipeline, plugins, profile
from mobiprox_core.configuration import Configuration
from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import Profile
from mobiprox_core.ledger import Ledger
from mobiprox_core.resolve import resolve
from mobiprox_core.stages import Stages, open_lab

pytestmark = pytest.mark.opencl

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
QUICK = pipeline.Effort(
    profile.Effort(samples=32, setting_s=0.002, output_s=1.0),
    measure.Effort(first=4, least=4, most=8, loss_s=0.5, round_s=0.02, confirm_s=0.05),
)
REAL = "MOBIPROX_TEST_ADB_SERIAL" in os.environ
FAULTS = 10


Options = dict[str, Any]


@pytest.fixture
def experiment(tmp_path: Path, options: Options) -> Path:
    """The digits example, with its backend swapped for the phone and nothing that is fitted."""
    lines = (DIGITS / "experiment.yaml").read_text().splitlines()
    swapped = [f"backend: {json.dumps({'android': options})}" if line.startswith("backend:") else line for line in lines]
    text = "\n".join(swapped).replace("filter_sampling: {strides: [2, 3, 4]}", "filter_sampling: {strides: [2, 3], refit: off}")
    (tmp_path / "experiment.yaml").write_text(text.replace("digits.onnx", str(DIGITS / "digits.onnx")))
    return tmp_path / "experiment.yaml"


@pytest.fixture(autouse=True)
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements are kept, also of other runs: not here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def journal(folder: Path) -> list[str]:
    """What has been measured, line by line, in the folder and in the cache."""
    return [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]


def profiled(path: Path, out: Path, resume: bool = False) -> Profile:
    os.environ["XDG_CACHE_HOME"] = str(out / "cache")
    registry = plugins.load()
    resolved = resolve(experiments.load(path, registry), registry)
    with open_lab(resolved) as lab:
        return Stages(resolved, lab, Ledger(out, resume=resume), QUICK, lambda step: None, lambda point: None).profile()


class Commands:
    """Counts what the runtime is told, and lets something happen at some of it."""

    def __init__(self, device: Device) -> None:
        self.count = self.measurements = 0
        self.at: dict[int, Any] = {}
        device.on_input = self.heard

    def heard(self, line: bytes, process: subprocess.Popen[bytes]) -> None:
        if b'"do"' not in line:
            return
        self.count += 1
        self.measurements += b'"do": "time"' in line or b'"do": "resume"' in line
        if happen := self.at.pop(self.count, None):
            threading.Thread(target=happen).start()


def settings(found: Profile) -> list[tuple[str, list[str]]]:
    return [(o.name, sorted(str(s.setting) for s in (*o.settings, *o.dropped))) for o in found.operators]


@pytest.mark.slow
def test_a_profile_survives_ten_interruptions_and_loses_at_most_one_measurement_each(
    phone: Device, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Commands(phone)
    undisturbed = profiled(experiment, tmp_path / "undisturbed")
    total, measurements = told.count, told.measurements
    assert measurements > 3 * FAULTS
    told, replayed, start = Commands(phone), [], devices.AndroidRunner._start

    def counted(runner: devices.AndroidRunner) -> None:
        replayed.extend(command for _, command, _ in runner._past if command["do"] == "resume")
        start(runner)

    monkeypatch.setattr(devices.AndroidRunner, "_start", counted)
    rng = np.random.default_rng(7)
    for moment in rng.choice(np.arange(1, total), FAULTS, replace=False):
        told.at[int(moment)] = phone.cut if rng.random() < 0.5 else phone.reboot
    disturbed = profiled(experiment, tmp_path / "disturbed")
    assert not told.at, "all ten happened"
    repeated = told.measurements - len(journal(tmp_path / "disturbed")) - len(replayed)  # what only brings the activations back is none
    assert repeated <= measurements - len(journal(tmp_path / "undisturbed")) + FAULTS, "commands, less what was noted of their answers"
    changes = [{s.setting: s.divergence for s in o.settings} for o in undisturbed.operators]
    for before, operator in zip(changes, disturbed.operators, strict=True):
        for setting in operator.settings:
            if setting.setting in before:  # whether a setting pays is a matter of timing
                assert setting.divergence == before[setting.setting]
    assert settings(disturbed)[0][0] == settings(undisturbed)[0][0]


@pytest.mark.slow
def test_a_run_that_had_to_give_up_is_taken_up_again(phone: Device, experiment: Path, tmp_path: Path, monkeypatch: Any) -> None:
    told = Commands(phone)
    profiled(experiment, tmp_path / "undisturbed")
    measurements, total = told.measurements, told.count
    told = Commands(phone)
    told.at[total // 2] = phone.stop
    experiment.write_text(experiment.read_text().replace('"wait_s": 10', '"wait_s": 0.5'))
    with pytest.raises(DeviceError, match="still"):
        profiled(experiment, tmp_path / "out")
    noted = journal(tmp_path / "out")
    assert len(noted) > 10
    phone.start()
    profiled(experiment, tmp_path / "out", resume=True)
    assert set(noted) <= set(journal(tmp_path / "out"))
    assert told.measurements - len(journal(tmp_path / "out")) <= measurements - len(journal(tmp_path / "undisturbed")) + 2


def test_the_whole_loop_gives_the_losses_of_this_machine(options: Options, experiment: Path, tmp_path: Path) -> None:
    """Bit for bit on the test device, which is this machine; on a real phone sums are rounded otherwise."""
    registry = plugins.load()
    loaded = experiments.load(experiment, registry)
    result = pipeline.run(loaded, registry, tmp_path / "out", effort=QUICK)
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["device"]["backend"] == "android"
    remarks = told["provenance"]["remarks of the device"]
    assert remarks["phone"] == options["serial"]
    assert remarks["measurements"] > 0
    assert remarks["temperature_c"] == [31.5, 31.5] or REAL
    assert told["replay"] is not None

    resolved = resolve(loaded, registry)
    resolved = type(resolved)(**{**{f: getattr(resolved, f) for f in resolved.__dataclass_fields__}, "backend": OpenCL()})
    object.__setattr__(resolved.experiment.backend, "options", {})
    configurations = [Configuration.from_json(level["settings"]) for level in told["levels"]]
    with open_lab(resolved) as lab:
        labels = [scores.argmax(axis=1) for scores in lab.outputs(configurations, resolved.tune.inputs)]
    assert resolved.tune.labels is not None
    accuracy = [float((predicted == resolved.tune.labels).mean()) for predicted in labels]
    for level, value in zip(told["levels"], accuracy, strict=True):
        assert level["measured_qos_loss_pp"] == pytest.approx(100 * (accuracy[0] - value), abs=0.5 if REAL else 1e-9)

    again = pipeline.measure_bundle(result.bundle, registry, None, lambda step: None)
    assert len(again["levels"]) == len(told["levels"])
    assert all(0 < level["latency_ms"] < 1000 for level in again["levels"])
    left = Android().open({**options, "keep": True})
    assert left.phone.link.size(left.phone.place("bundles")) is not None  # type: ignore[attr-defined]
    left.phone.clean()  # type: ignore[attr-defined]
    assert left.phone.link.size(left.phone.folder) is None  # type: ignore[attr-defined]


def test_a_configuration_that_crashes_is_missing_from_the_levels_and_told_of(phone: Device, experiment: Path, tmp_path: Path) -> None:
    registry = plugins.load()
    crashed: list[str] = []

    def crash(line: bytes, process: subprocess.Popen[bytes]) -> None:
        """One variant of one operator, wherever it is timed or run."""
        if not line.startswith(b'{"do": "time"'):
            return
        command = json.loads(line.splitlines()[0])
        if command["operators"] == [1] and any(variants[1] == 2 for variants in command["variants"]):
            crashed.append(str(command))
            process.kill()

    phone.on_input = crash
    found = profiled(experiment, tmp_path / "out")
    assert len(crashed) >= 2
    never = [s for o in found.operators for s in o.dropped if s.latency_ms > devices.NEVER_MS / 2]
    assert never
    assert all(s.latency_ms < 1e6 for o in found.operators for s in o.settings)
    del registry
