"""Bundles to run, and the runner as a function of their folders."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mobiprox_approx_filter_sampling.plugin import mobiprox_techniques as sampling
from mobiprox_approx_perforation.plugin import mobiprox_techniques as perforation
from mobiprox_backend_native.build import host_environment

from mobiprox_core import bundle as bundles
from mobiprox_core.adaptation import calibrate
from mobiprox_core.bundle import Bundle
from mobiprox_core.cache import cache_folder
from mobiprox_core.configuration import EXACT, EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import Agreement, ClassConfidence, LevelCalibration
from mobiprox_core.labelling import with_labels
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.plan import Constant, DeviceInfo, ExecutionPlan, Launch, PlanOperator, Slot, Variant

CACHE = cache_folder() / "native"
SANITIZERS = {"MOBIPROX_SANITIZE": "address,undefined", "CMAKE_BUILD_TYPE": "RelWithDebInfo"}
TECHNIQUES = {t.name: t for t in (*perforation(), *sampling())}
ROWS = Setting.of("perforation", axis="rows", offset=1, stride=2)
COLUMNS = Setting.of("perforation", axis="columns", offset=0, stride=3)
HALF = Setting.of("filter_sampling", offset=0, stride=2)
LEVELS = (
    Configuration({"c2": ROWS}),
    Configuration({"c2": ROWS + COLUMNS, "c3": HALF}),
    Configuration({"c1": HALF, "c2": ROWS + HALF, "c4": COLUMNS}),
)
"""Of the trial network of backend_opencl, besides the exact one."""


def write_bundle(
    folder: Path,
    plan: ExecutionPlan,
    levels: Sequence[Configuration],
    classes: int,
    options: Mapping[str, Any] | None = None,
    strategy: Choice | None = None,
    already_softmax: bool = False,
    outputs: np.ndarray | None = None,
    labels: bool = False,
) -> Path:
    """A bundle of these levels, the exact one first. outputs: float[levels, N, classes] to calibrate on, else noise.

    labels: whether the plan computes label and confidence itself.
    """
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((len(levels), 200, classes)) if outputs is None else outputs
    calibration = calibrate(
        list(scores), None if outputs is not None else rng.integers(0, classes, 200), np.linspace(1, 0.5, len(levels)), already_softmax
    )
    points = tuple(OperatingPoint(level, float(i), 1.0) for i, level in enumerate(levels))
    if labels:
        plan = with_labels(plan, [level.temperature for level in calibration], already_softmax)
    bundles.write(Bundle(plan, Choice("opencl", options or {}), points, calibration, strategy, already_softmax=already_softmax), folder)
    return folder


def tiny_bundle(folder: Path) -> Path:
    """A bundle that uses every part of the format, and whose kernels do nothing."""
    weights = np.arange(37, dtype=np.float32).reshape(37, 1)  # neither length nor bytes a multiple of 64
    setting = Setting.of("toy", stride=2) + Setting.of("other")
    plan = ExecutionPlan(
        name="tiny",
        batch=1,
        device=DeviceInfo("a device", "1.0", "a runtime", isa="avx2"),
        source="void first(global uchar *arena, global const int *descriptor, int unit) {}\n// é",
        functions=("first", "second"),
        arena_elements=512,
        constants=(
            Constant("weights", 0, weights),
            Constant("weights of variant 1", 48, weights[::2].astype(np.float16)),
            Constant("table", 64, np.array([1, -2, 3], dtype=np.int32)),
        ),
        inputs=(Slot("x", (1, 3, 4, 4), (1, 3, 4, 4), 80, (256, 256, 64, 16), 16),),
        outputs=(Slot("y", (1, 10), (1, 10, 1, 1), 400, (10, 1, 1, 1)),),
        operators=(
            PlanOperator(
                "conv",
                "conv",
                (
                    Variant(EXACT, (Launch("first", 8, (0, 64, -5)),)),
                    Variant(setting, (Launch("first", 4, (48, 64, 2**31 - 1)), Launch("second", 1, ()))),
                ),
            ),
            PlanOperator("flatten", "view", (Variant(EXACT, ()),)),
        ),
        levels=((0, 0), (1, 0)),
        labelled=Slot("(label)", (1, 12), (1, 12, 1, 1), 448, (12, 1, 1, 1)),
        notes={"tiles": [4, 2]},
    )
    calibration = LevelCalibration(
        relative_cost=1.0,
        accuracy=0.9,
        temperature=1.5,
        overall=ClassConfidence(9, 1, 0.9, 0.4),
        classes=(ClassConfidence(0, 1, None, 0.5),) * 10,
        agreement=Agreement((0.0, 0.4, 0.9), (1.0, 0.7, 0.2), (0.3, 0.1, 0.0), 200, 3, (0.3, 0.2, 0.0)),
    )
    points = (OperatingPoint(EXACT_CONFIGURATION, 0.0, 2.0), OperatingPoint(Configuration({"conv": setting}), 1.5, 1.0, 3.25))
    content = Bundle(
        plan,
        Choice("opencl", {"threads": 2}),
        points,
        (calibration, calibration),
        Choice("state", {"memory": 3}),
        tuple("0123456789"),
        provenance={"seed": 0, "plugins": {"toy": "0.1.0"}},
    )
    bundles.write(content, folder)
    return folder


def sign(folder: Path) -> None:
    """The index states what the other files are now."""
    index = json.loads((folder / "bundle.json").read_text())
    for name in set(index["files"]) & {"plan.json", "weights.safetensors", "kernels/program.cl"}:
        content = (folder / name).read_bytes()
        index["files"][name] = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "bundle.json").write_text(json.dumps(index))


def run(runner: Path, *arguments: str | Path, stdin: str = "", status: int = 0, **environment: str) -> list[dict[str, Any]]:
    """What the runner says, line by line; the last line says that it is complete."""
    command = [str(runner), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=host_environment() | environment)
    assert done.returncode == status, f"ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["event"] == "end"
    assert lines[-1]["ok"] == (status == 0)
    return lines


def infer(runner: Path, bundle: Path, inputs: np.ndarray, *arguments: str | Path) -> np.ndarray:
    """float32[levels, ...]: every level's outputs, flat."""
    source, target = bundle.parent / "inputs.bin", bundle.parent / "outputs.bin"
    inputs.astype(np.float32).tofile(source)
    run(runner, "--infer", bundle, source, target, *arguments)
    return np.fromfile(target, dtype=np.float32)
