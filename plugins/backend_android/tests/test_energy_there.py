"""Meters of phones at the test device: they run their scripts there, and the energy of levels comes from the phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adb_device import Device
from mobiprox_backend_android.plugin import Android
from mobiprox_backend_opencl import trial

from mobiprox_core import energy
from mobiprox_core.errors import DeviceError
from mobiprox_core.lowering import lower
from mobiprox_core.plugins import load

pytestmark = pytest.mark.opencl

Options = dict[str, Any]

COUNTING = """#!/bin/sh
sed "s/status: 2/status: 3/" "$TEST_SHIMS/dumpsys.$1"
[ "$1" = battery ] && echo "  Charge counter: $((9000000000000 - $(date +%s%N) / 1000000 % 1000000000))"
exit 0
"""
"""A battery whose charge counter falls by one microampere-hour a millisecond: 3.6 amperes."""


def meter(name: str, device: Any) -> Any:
    return energy.meter_at(load().get("meter", name), {}, device)


def test_a_meter_of_this_machine_is_refused(options: Options) -> None:
    device = Android().open(options)
    with pytest.raises(DeviceError, match="measures this machine, but the network runs on"):
        meter("rapl", device)
    device.close()


def test_a_phone_without_perfetto_says_so_and_one_on_usb_is_not_measured_by_its_battery(phone: Device, options: Options) -> None:
    device = Android().open(options)
    assert device.shell("echo 'a  b'; exit 3") == "a  b\n"  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match="'rails' cannot measure here: the phone has no perfetto"):
        meter("rails", device)
    phone.set_condition(usb=True)
    with pytest.raises(DeviceError, match=r"'battery' cannot measure here: it is being charged \(USB\).*adb tcpip"):
        meter("battery", device)
    device.close()


def test_energy_of_levels_is_what_the_battery_gave(phone: Device, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(Path("/sys/class/power_supply").glob("*")):
        pytest.skip("this machine has a battery of its own, which the test device shows")
    monkeypatch.setattr("mobiprox_meter_battery.battery.COUNTER_S", 0.5)
    phone.set_condition(usb=False)
    (phone.shims / "dumpsys").write_text(COUNTING)
    device = Android().open(options)
    there = meter("battery", device)
    plan = lower(trial.network(), device.info, {}, {})
    runner = device.load(plan)
    runner.run(np.zeros(plan.inputs[0].shape, dtype=np.float32))
    found = energy.measure(runner, range(1), lambda: None, there, 0.1, is_far=True)
    assert "charge counter" in found.about["quality"]
    [mj] = found.mj
    assert mj is not None
    mean_ms = float(runner.time(None, [plan.levels[0]], 0.2)[0].mean())
    assert 0.3 < mj / (3.6 * 4.012 * mean_ms) < 3  # amperes, volts, milliseconds; the machine may be busy
    runner.close()
    device.close()
