"""Choosing devices, and keeping broken ones away."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mobiprox_backend_opencl import devices
from mobiprox_backend_opencl.plugin import OpenCL

from mobiprox_core.errors import DeviceError

pytestmark = pytest.mark.opencl


def test_the_default_is_a_cpu_that_works() -> None:
    info = OpenCL().open({}).info
    assert info.kind == "cpu"
    assert info.vector <= info.block


def test_one_thread_takes_the_device_that_runs_on_the_calling_thread() -> None:
    assert OpenCL().open({"threads": 1}).info.threads == 1


def test_a_device_can_be_chosen_by_index_and_by_a_part_of_its_name() -> None:
    first = devices.find()[0]
    assert OpenCL().open({"device": first.index}).info.name == first.name
    assert OpenCL().open({"device": first.name[:5].upper()}).info.name.startswith(first.name[:5])


@pytest.mark.parametrize("wanted", ["no such thing", 99])
def test_a_device_that_is_not_there_is_answered_with_those_that_are(wanted: str | int) -> None:
    with pytest.raises(DeviceError) as caught:
        OpenCL().open({"device": wanted})
    assert devices.find()[0].name in str(caught.value)


def test_more_threads_than_there_are_is_refused() -> None:
    with pytest.raises(DeviceError, match="thread"):
        OpenCL().open({"threads": 4096})


def test_every_device_found_is_reported_once_and_usable_or_explained() -> None:
    reports = OpenCL().devices()
    assert [r.index for r in reports] == list(range(len(reports)))
    assert all((r.info is None) == (r.problem is not None) for r in reports)


def test_an_instruction_set_that_the_cpu_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx2"})
    with pytest.raises(DeviceError, match="fma"):
        OpenCL().open({"isa": "avx2"})


def test_a_runtime_that_kills_the_process_kills_only_the_canary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real = subprocess.run

    def crashes_with_avx(command: list[str], **options: object) -> object:
        if json.loads(command[-1])["isa"] != "generic":
            command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx2", "fma"})
    monkeypatch.setattr(devices.subprocess, "run", crashes_with_avx)
    assert OpenCL().open({}).info.isa == "generic"
    with pytest.raises(DeviceError, match="signal 11"):
        OpenCL().open({"isa": "avx2"})


def test_a_verdict_is_kept_until_something_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flights = []
    monkeypatch.setattr(devices, "_fly", lambda index, info, by_operator: flights.append(info))
    found = devices.find()[0]
    info = devices.describe(found, "generic", None)
    devices.describe(found, "generic", None)
    assert len(flights) == 1
    devices.canary(replace(found, driver="newer"), info)
    assert len(flights) == 2


def test_a_device_that_computes_wrongly_fails_its_trial() -> None:
    info = devices.describe(devices.find()[0], "generic", None)
    wrong = replace(info, vector=8, isa="generic", block=4)  # vectors longer than a block: never right
    assert devices._fly(0, wrong) is not None
