"""The whole loop on a phone: push, info, profile, measure, replay, pull. On the test device, or on a real phone
(MOBIPROX_TEST_ADB_SERIAL), where tests that inject faults are skipped."""

from __future__ import annotations

import os
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


def test_only_what_changed_is_pushed_again(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    device.load(plan).close()
    before = list(phone.pushed)
    assert any(size > 100_000 for _, size in before), "the runtime at least"
    device.load(plan).close()
    assert phone.pushed == before
    device.load(replace(plan, source=plan.source + "\n// another")).close()
    again = phone.pushed[len(before) :]
    assert {size for _, size in again} < {len(plan.source.encode()) + 11, *range(20_000)}, "program and index, not the weights"
    device.close()
    assert [path for path, _ in phone.pushed if not path.startswith(f"{SHARED}/mobiprox/")] == []


def test_a_file_that_was_damaged_on_the_phone_is_pushed_again(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    device.load(plan).close()
    for path in (phone.files / "mobiprox" / "bundles").rglob("plan.json"):
        path.write_bytes(path.read_bytes().replace(b"c2", b"c9"))
    runner = device.load(plan)
    assert np.isfinite(runner.run(X)).all()
    runner.close()
    device.close()


def test_a_kept_phone_needs_no_pushing_at_all(phone: Device, options: Options) -> None:
    for _ in range(2):
        pushed = len(phone.pushed)
        device = Android().open({**options, "keep": True})
        device.close()
    assert len(phone.pushed) == pushed


def test_folders_with_spaces_and_quotes_are_just_folders(phone: Device, options: Options) -> None:
    folder = f'{SHARED}/my phone\'s "dir"; touch oops $(touch oops) `touch oops`'
    device = Android().open({**options, "remote_dir": folder})
    runner = device.load(plan_for(device))
    runner.run(X)
    runner.run_many(np.concatenate([X, X]))  # type: ignore[attr-defined]
    assert [path.name for path in phone.files.iterdir()] == [folder.removeprefix(f"{SHARED}/")]
    runner.close()
    device.close()
    assert list(phone.files.iterdir()) == []


def test_a_folder_that_was_there_before_keeps_what_others_put_in_it(phone: Device, options: Options) -> None:
    (phone.files / "mobiprox").mkdir()
    (phone.files / "mobiprox" / "notes.txt").write_text("mine")
    Android().open(options).close()
    assert [path.name for path in (phone.files / "mobiprox").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("folder", ["relative", "/", "", "/data/../etc", "/data/local/tmp/a\nb"])
def test_what_is_no_folder_to_work_in_is_refused(folder: str, options: Options) -> None:
    with pytest.raises(UsageError, match="no folder to work in"):
        Android().open({**options, "remote_dir": folder})


# ------------------------------------------------------------------------------------------------------------- which phone, which device


def test_no_phone_is_said_to_be_missing(server: Server, runtime: Path) -> None:
    with pytest.raises(DeviceError, match="no phone is connected"):
        Android().open({})
    (report,) = Android().devices()
    assert report.problem == "no phone is connected"
    assert "USB debugging" in (report.mend or "")


def test_without_an_adb_server_none_is_started_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    from adb_device import _free_port

    port = _free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    (report,) = Android().devices()
    assert report.problem == "no adb server runs, so no phone is known"
    (report,) = Android().devices()
    assert report.problem is not None


@pytest.mark.parametrize(
    ("faults", "state", "what", "mend"),
    [
        ({"authorized": False}, "unauthorized", "does not trust this computer", "accept the question"),
        ({"answers": False}, "offline", "is known, but does not answer", "reconnect"),
    ],
)
def test_a_phone_that_cannot_be_used_says_why(faults: dict[str, Any], state: str, what: str, mend: str, make: Any) -> None:
    phone = make(state, **faults)
    with pytest.raises(DeviceError, match=what) as caught:
        Android().open({"serial": phone.serial})
    assert mend in (caught.value.mend or "")
    (report,) = [r for r in Android().devices() if phone.serial in r.name]
    assert what in (report.problem or "")


def test_a_phone_that_trusts_after_all_can_be_used(make: Any, runtime: Path) -> None:
    """The key of the adb server is taken, and its signature is verified."""
    phone = make("device", authorized=False, trusts_who_asks=True)
    phone.cut()
    device = Android().open({"serial": phone.serial, "device": "cpu", "runner": str(runtime), "wait_s": 10})
    device.close()


def test_several_phones_must_be_chosen_from(make: Any, options: Options) -> None:
    first, second = make(), make()
    with pytest.raises(DeviceError, match="phones are connected") as caught:
        Android().open({key: value for key, value in options.items() if key != "serial"})
    assert first.serial in str(caught.value)
    assert second.serial in str(caught.value)
    with pytest.raises(DeviceError, match="no phone is called 'nobody'") as caught:
        Android().open({**options, "serial": "nobody"})
    assert first.serial in str(caught.value)


@pytest.mark.parametrize("wanted", ["gpu", "adreno"])
def test_the_cpu_never_stands_in_for_a_gpu(wanted: str, phone: Device, options: Options) -> None:
    with pytest.raises(DeviceError, match=f"no OpenCL device '{wanted}'") as caught:
        Android().open({**options, "device": wanted})
    assert "(cpu)" in (caught.value.mend or "")
    assert list(phone.files.iterdir()) == [], "cleaned up although it failed"


def test_a_runtime_for_another_processor_is_refused(make: Any, runtime: Path) -> None:
    phone = make(abis="arm64-v8a,armeabi-v7a")
    with pytest.raises(DeviceError, match=r"is for x86_64; .* runs arm64-v8a, armeabi-v7a"):
        Android().open({"serial": phone.serial, "runner": str(runtime)})


def test_without_an_ndk_it_is_said_how_to_get_the_runtime(make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    phone = make(abis="arm64-v8a")
    with pytest.raises(DeviceError, match=r"arm64-v8a\) needs the Android NDK") as caught:
        Android().open({"serial": phone.serial})
    assert "ANDROID_NDK_HOME" in (caught.value.mend or "")


def test_the_newest_ndk_is_found_and_told_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mobiprox_backend_android import runtime as runtimes
    from mobiprox_backend_native import build

    for version in ("9.1", "27.0.12"):
        (tmp_path / "ndk" / version / "build" / "cmake").mkdir(parents=True)
        (tmp_path / "ndk" / version / "build" / "cmake" / "android.toolchain.cmake").touch()
    assert runtimes.find_ndk({"ANDROID_HOME": str(tmp_path)}) == tmp_path / "ndk" / "27.0.12"
    asked: list[Any] = []
    monkeypatch.setattr(build, "build_runner", lambda folder, definitions: asked.append(definitions) or Path("built"))
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "ndk" / "9.1"))
    assert runtimes.runtime_for(["mips", "armeabi-v7a"], None, "x") == Path("built")
    assert asked[0]["ANDROID_ABI"] == "armeabi-v7a"
    assert asked[0]["CMAKE_TOOLCHAIN_FILE"] == str(tmp_path / "ndk" / "9.1" / "build" / "cmake" / "android.toolchain.cmake")


def test_a_phone_must_be_powered_as_the_experiment_says(phone: Device, options: Options) -> None:
    phone.set_condition(usb=True)
    with pytest.raises(DeviceError, match="is charging"):
        Android().open({**options, "power": "battery"})
    phone.set_condition(usb=False)
    with pytest.raises(DeviceError, match="is on its battery"):
        Android().open({**options, "power": "charger"})
    Android().open({**options, "power": "battery"}).close()


# ---------------------------------------------------------------------------------------------------------------------------- faults


def test_a_full_phone_says_so_and_is_left_clean(phone: Device, options: Options) -> None:
    phone.free_bytes = 10_000
    with pytest.raises(DeviceError, match="No space left on device") as caught:
        Android().open(options)
    assert "make room" in (caught.value.mend or "")
    assert list(phone.files.iterdir()) == []


@pytest.mark.parametrize("wipe", [False, True])
def test_a_phone_that_restarts_goes_on_where_it_was(wipe: bool, phone: Device, options: Options) -> None:
    device = Android().open(options)
    runner = device.load(plan_for(device))
    exact = runner.run(X)
    runner.set_level(2)
    runner.run(X)
    runner.set_level(1)
    runner.resume(1)  # c1 of level 2, the rest of level 1
    wanted, c1 = runner.resume(2), runner.tensor("c1")
    phone.reboot(wipe=wipe)
    np.testing.assert_array_equal(runner.resume(2), wanted)
    phone.cut()
    np.testing.assert_array_equal(runner.tensor("c1"), c1)
    phone.reboot(wipe=wipe)
    runner.set_level(0)
    np.testing.assert_array_equal(runner.run_many(np.concatenate([X, X]))[1:], exact)  # type: ignore[attr-defined]
    interruptions = device.remarks()["interruptions"]  # type: ignore[attr-defined]
    assert [" restarted again " in text for text in interruptions] == [True, False, True]
    runner.close()
    device.close()
    assert list(phone.files.iterdir()) == []


def test_a_link_that_is_cut_within_a_measurement_costs_that_measurement_only(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    runner = device.load(plan)
    runner.run(X)
    threading.Timer(0.3, phone.cut).start()
    times = runner.time(None, plan.levels, seconds=1.0)
    assert all(len(samples) >= 5 for samples in times)
    assert len(device.remarks()["interruptions"]) == 1  # type: ignore[attr-defined]
    with phone.lock:
        assert len([p for p in phone.processes if p.poll() is None]) == 1, "the runtime of before has ended"
    runner.close()
    device.close()


def test_a_phone_that_does_not_come_back_is_an_error_that_says_how_to_go_on(phone: Device, options: Options) -> None:
    device = Android().open({**options, "wait_s": 1})
    runner = device.load(plan_for(device))
    phone.stop()
    with pytest.raises(DeviceError, match=r"after 1 s .* still (is|does)") as caught:
        runner.run(X)
    assert "--resume" in (caught.value.mend or "")
    runner.close()
    device.close()


def test_a_slow_link_is_slow_and_no_more(phone: Device, options: Options) -> None:
    device = Android().open(options)
    runner = device.load(plan_for(device))
    exact = runner.run(X)
    phone.bytes_per_s = 20_000
    np.testing.assert_array_equal(runner.run(X), exact)
    (samples,) = runner.time(None, [runner.plan.levels[0]], 0.0)
    assert np.median(samples) < 20, "the phone's clock, not ours"
    phone.bytes_per_s = None
    runner.close()
    device.close()


@pytest.mark.parametrize("code", [3, 139])
def test_a_wrong_exit_code_makes_a_run_worthless(code: int, phone: Device, options: Options) -> None:
    phone.exit_codes = {"--devices": code}
    with pytest.raises(DeviceError, match=f"ended with {code}"):
        Android().open(options)


def test_an_exit_code_of_zero_is_not_enough(phone: Device, options: Options, runtime: Path, tmp_path: Path) -> None:
    """A runtime that ends well without its last record."""
    fake = tmp_path / "mbx-run"
    fake.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00" + bytes(100))
    phone.exit_codes = {"--devices": 0}
    with pytest.raises(DeviceError, match="finds no OpenCL"):
        Android().open({**options, "runner": str(fake)})


def test_a_runtime_that_falls_silent_is_given_up(phone: Device, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    runner = device.load(plan)
    monkeypatch.setattr(devices, "COMMAND_S", 1.0)
    monkeypatch.setattr(devices, "BATCH_S", 0.0)

    def stop(line: bytes, process: subprocess.Popen[bytes]) -> None:
        if b'"do": "time"' in line:
            os.killpg(process.pid, signal.SIGSTOP)

    phone.on_input = stop
    with pytest.raises(DeviceError, match=r"the exact network .* does not run: the phone fell silent 2 times"):
        runner.time([1], [plan.levels[0]], 0.0)
    phone.kill_all()
    runner.close()
    device.close()


# ------------------------------------------------------------------------------------------------------------------------ quarantine


def crash_on(phone: Device, *words: bytes, by: Any = None) -> list[bytes]:
    """The runtime dies of commands that hold all of these words; returns those that came."""
    seen: list[bytes] = []

    def kill(line: bytes, process: subprocess.Popen[bytes]) -> None:
        if all(word in line for word in words):
            seen.append(line)
            if by is None:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                by()

    phone.on_input = kill
    return seen


def test_a_configuration_that_crashes_the_driver_is_left_out_for_good(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    runner = device.load(plan)
    evil, fine = list(plan.levels[2]), list(plan.levels[1])
    seen = crash_on(phone, b'"do": "time"', str(evil).encode())
    runner.run(X)
    first, second, third = runner.time(None, [plan.levels[0], evil, fine], 0.0)
    assert (second == NEVER_MS).all()
    assert len(first) == len(second) == len(third)
    assert max(first.max(), third.max()) < 1e6
    assert len(seen) == 2, "once among others, once alone to be sure"
    runner.select(evil)
    assert np.isnan(runner.run(X)).all()
    (told,) = device.remarks()["left out because they crash"]  # type: ignore[attr-defined]
    assert "c1: filter_sampling(offset=0, stride=2); c2: filter_sampling" in told
    assert "killed by signal 9" in told
    runner.close()
    device.close()

    device = Android().open(options)
    again = device.load(plan)  # another run
    again.run(X)
    assert (again.time(None, [plan.levels[0], evil], 0.0)[1] == NEVER_MS).all()
    assert len(seen) == 2, "not tried again"
    phone.on_input = lambda line, process: None
    again.set_level(1)
    assert np.isfinite(again.run(X)).all(), "what has not all of its settings is no concern"
    assert again.time([0], [evil], 0.0)[0].max() < 1e6, "nor is a part of it alone"
    again.close()
    device.close()


def test_a_configuration_that_restarts_the_phone_twice_is_left_out(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    runner = device.load(plan)
    seen = crash_on(phone, b'"do": "level", "level": 2', by=lambda: threading.Thread(target=phone.reboot).start())
    runner.set_level(2)
    assert np.isnan(runner.run(X)).all()
    assert len(seen) == 2
    runner.set_level(1)
    assert np.isfinite(runner.run(X)).all()
    runner.close()
    device.close()


def test_a_real_crash_of_a_kernel_is_one_too(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device, keep=False)
    place = [o.name for o in plan.operators].index("c2")
    operators = list(plan.operators)
    variants = list(operators[place].variants)
    launch = variants[1].launches[0]
    wild = tuple(1 << 30 if isinstance(v, int) and v > 1000 else v for v in launch.row)
    variants[1] = replace(variants[1], launches=(replace(launch, row=wild), *variants[1].launches[1:]))
    operators[place] = replace(operators[place], variants=tuple(variants))
    runner = device.load(replace(plan, operators=tuple(operators)))
    level = next(i for i, level in enumerate(plan.levels) if level[place] == 1)
    runner.set_level(level)
    assert np.isnan(runner.run(X)).all()
    runner.set_level(0)
    assert np.isfinite(runner.run(X)).all()
    runner.close()
    device.close()


def test_kernels_that_do_not_build_give_the_compilers_words(phone: Device, options: Options) -> None:
    device = Android().open(options)
    plan = plan_for(device)
    with pytest.raises(DeviceError, match="does not build"):
        device.load(replace(plan, source=plan.source + "\nthis is no OpenCL\n"))
    device.close()


# ----------------------------------------------------------------------------------------------------------------------- temperature


def test_a_hot_phone_cools_down_first_but_not_for_ever(phone: Device, options: Options) -> None:
    device = Android().open({**options, "cool_down_s": 0.5})
    plan = plan_for(device)
    runner = device.load(plan)
    runner.run(X)
    phone.set_condition(status=3, skin=47.5, usb=False)
    began = time.monotonic()
    (samples,) = runner.time([1], [plan.levels[0]], 0.0)
    assert time.monotonic() - began >= 0.5
    assert len(samples)
    remarks = device.remarks()  # type: ignore[attr-defined]
    assert remarks["measurements while throttling"] == 1
    assert remarks["temperature_c"] == [47.5, 47.5]
    assert remarks["charging"] == [False]
    runner.close()
    device.close()


def test_meters_read_the_phones_gauges(phone: Device, options: Options) -> None:
    device = Android().open(options)
    assert "voltage: 4012" in device.shell("dumpsys battery")  # type: ignore[attr-defined]
    device.close()


# -------------------------------------------------------------------------------------------------------------------- several phones


def test_several_phones_share_the_work(make: Any, options: Options) -> None:
    second = make()
    device = Android().open({**options, "serial": [options["serial"], second.serial]})
    plan = plan_for(device)
    runner = device.load(plan)
    exact = runner.run(X)
    batches = np.random.default_rng(5).standard_normal((5, 3, 8, 8)).astype(np.float32)
    single = np.concatenate([runner.run(batches[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(runner.run_many(batches), single)  # type: ignore[attr-defined]
    times = runner.time(None, plan.levels, seconds=0.1)
    assert {len(samples) for samples in times} == {len(times[0])}
    assert len(times[0]) >= 30, "five rounds of three, from both"
    assert [p["phone"] for p in device.remarks()["phones"]] == [options["serial"], second.serial]  # type: ignore[attr-defined]
    runner.set_level(1)
    assert not np.array_equal(runner.run(X), exact)
    second.stop()
    runner.set_level(0)
    np.testing.assert_array_equal(runner.run(X), exact)
    assert len(runner.time(None, plan.levels, seconds=0.0)[0]) >= 15
    runner.close()
    device.close()


def test_a_phone_is_not_named_twice(phone: Device, options: Options) -> None:
    with pytest.raises(UsageError, match="named twice"):
        Android().open({**options, "serial": [phone.serial, phone.serial]})


def test_the_words_of_a_command_reach_it_as_they_are(phone: Device) -> None:
    from adbutils import AdbClient
    from mobiprox_backend_android.link import Done, Link

    link = Link(AdbClient(), phone.serial)
    for word in ("a b", "it's", '"', "$HOME", "`id`", "a;b", "*", "\\", "ü"):
        assert link.shell("printf", "%s", word).out == word
    assert link.script("echo out; echo err >&2; exit 7") == Done(7, "out\n", "err\n")
