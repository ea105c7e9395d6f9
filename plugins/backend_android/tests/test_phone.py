"""The whole loop on a phone: push, info, profile, measure, replay, pull. On the test device, or on a real phone
(MOBIPROX_TEST_ADB_SERIAL), where tests that inject faults are skipped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adb_device import SHARED, Device, Server
from mobiprox_approx_filter_sampling.plugin import mobiprox_techniques as sampling
from mobiprox_approx_perforation.plugin import mobiprox_techniques as perforation
from mobiprox_backend_android import device as devices
from mobiprox_backend_android import trial
from mobiprox_backend_android.device import NEVER_MS
from mobiprox_backend_android.plugin import Android

from mobiprox_core import reference
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.errors import DeviceError, UsageError
from mobiprox_core.lowering import lower
from mobiprox_core.plan import ExecutionPlan

pytestmark = pytest.mark.opencl

TECHNIQUES = {t.name: t for t in (*perforation(), *sampling())}
ROWS = Setting.of("perforation", axis="rows", offset=1, stride=2)
HALF = Setting.of("filter_sampling", offset=0, stride=2)
LEVELS = (Configuration({"c2": ROWS}), Configuration({"c1": HALF, "c2": ROWS + HALF}))
X = np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)

Options = dict[str, Any]


def plan_for(device: Any, *, keep: bool = True) -> ExecutionPlan:
    return lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS, keep_activations=keep)


# ------------------------------------------------------------------------------------------------------------------- on any phone


def test_a_phone_runs_what_the_reference_says_and_leaves_nothing_behind(options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    runner = device.load(plan)
    (expected,) = reference.run(trial.network(), [X])
    np.testing.assert_allclose(runner.run(X), expected, atol=1e-5)
    exact = runner.run(X)
    conv = runner.tensor("c2")
    assert conv.shape == (1, 21, 8, 8)
    runner.set_level(1)
    assert runner.variants == plan.levels[1]
    resumed = runner.resume(1)
    assert not np.array_equal(resumed, exact)
    np.testing.assert_array_equal(runner.run(X), resumed)
    runner.select(plan.levels[0])
    np.testing.assert_array_equal(runner.run(X), exact)
    many = runner.run_many(np.concatenate([X, -X, X]))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(many[[0, 2]], np.concatenate([exact, exact]))
    for operators in (None, [1]):
        times = runner.time(operators, plan.levels, seconds=0.02)
        assert len(times) == len(plan.levels)
        assert all(len(samples) >= 5 and (samples > 0).all() for samples in times)
    runner.close()
    link, folder = device.phone.link, device.phone.folder  # type: ignore[attr-defined]
    assert link.size(f"{folder}/objects") is not None
    device.close()
    assert link.size(folder) is None
