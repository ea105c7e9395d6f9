"""The `native` backend: the same plans, settings and answers as `opencl`, through the runtime that phones run."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from mobiprox_backend_native.plugin import Native
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import open_device
from native_bundles import LEVELS, TECHNIQUES

from mobiprox_core.errors import DataError, DeviceError
from mobiprox_core.interfaces import Device
from mobiprox_core.lowering import lower

pytestmark = pytest.mark.opencl

X = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def native(runner: object) -> Iterator[Device]:
    """runner: skips where it cannot be built."""
    device = Native().open({})
    yield device
    device.close()


def test_it_finds_what_the_opencl_backend_finds(native: Device) -> None:
    opencl = open_device({}).info
    assert (native.info.name, native.info.isa, native.info.vector, native.info.threads) == (
        opencl.name,
        opencl.isa,
        opencl.vector,
        opencl.threads,
    )
    assert all(report.problem is None for report in Native().devices())


def test_every_level_and_activation_has_the_bits_of_the_opencl_backend(native: Device) -> None:
    plan = lower(trial.network(), native.info, TECHNIQUES, {}, LEVELS, keep_activations=True)
    ours, theirs = native.load(plan), open_device({}).load(plan)
    for level in range(len(plan.levels)):
        for one in (ours, theirs):
            one.set_level(level)
        np.testing.assert_array_equal(ours.run(X), theirs.run(X))
        assert ours.variants == theirs.variants
        np.testing.assert_array_equal(ours.tensor("c3"), theirs.tensor("c3"))
        np.testing.assert_array_equal(ours.resume(2), theirs.resume(2))
    ours.close()


def test_what_was_timed_last_is_not_what_runs_next(native: Device) -> None:
    ours = native.load(lower(trial.network(), native.info, TECHNIQUES, {}, LEVELS))
    exact = ours.run(X)
    ours.time(None, ours.plan.levels, seconds=0)
    np.testing.assert_array_equal(ours.run(X), exact)
    ours.close()


def test_it_times_operators_and_inferences(native: Device) -> None:
    plan = lower(trial.network(), native.info, TECHNIQUES, {}, LEVELS)
    ours = native.load(plan)
    for operators in (None, [1]):
        times = ours.time(operators, plan.levels, seconds=0.02)
        assert len(times) == len(plan.levels)
        assert all(len(samples) >= 5 and (samples > 0).all() for samples in times)
    ours.close()


def test_a_wrong_input_and_a_wrong_device_are_refused(native: Device) -> None:
    ours = native.load(lower(trial.network(), native.info, {}, {}))
    with pytest.raises(DataError, match=r"float32\[2, 3, 8, 8\]"):
        ours.run(X[:1])
    ours.close()
    with pytest.raises(DeviceError, match="devices are"):
        Native().open({"device": "no such thing"})


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (report,) = Native().devices()
    assert report.problem is not None
    assert "CMake" in report.problem
    assert "install" in (report.mend or "")
