"""Bundles to run, and the runner as a function of their folders."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mobiprox_approx_filter_sampling.plugin import mobiprox_techniques as sampling
from mobiprox_approx_perforation.plugin import mobiprox_techniques as perforation
from mobiprox_backend_android.build import host_environment

from mobiprox_core import bundle as bundles
from mobiprox_core.adaptation import calibrate
from mobiprox_core.bundle import Bundle
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.experiment import Choice
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.plan import ExecutionPlan

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
) -> Path:
    """A bundle of these levels, the exact one first. outputs: float[levels, N, classes] to calibrate on, else noise."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((len(levels), 200, classes)) if outputs is None else outputs
    calibration = calibrate(
        list(scores), None if outputs is not None else rng.integers(0, classes, 200), np.linspace(1, 0.5, len(levels)), already_softmax
    )
    points = tuple(OperatingPoint(level, float(i), 1.0) for i, level in enumerate(levels))
    bundles.write(Bundle(plan, Choice("opencl", options or {}), points, calibration, strategy, already_softmax=already_softmax), folder)
    return folder


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
