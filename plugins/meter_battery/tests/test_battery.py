"""The battery meter on what phones and laptops print."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mobiprox_meter_battery.battery import Battery, mean_power
from mobiprox_meter_battery.state import State, parse

from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import Meter
from mobiprox_core.testing import MeterContract

SAMPLES = Path(__file__).resolve().parent / "samples"


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_text()


class TestTheBatteryOfThisMachine(MeterContract):
    @pytest.fixture
    def meter(self) -> Meter:
        return Battery()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pixel_on_battery", State(True, -412_500, 4_021_000, 3_104_000, None)),
        ("pixel_on_usb", State(True, 812_000, 4_310_000, 3_304_000, "USB")),
        ("sysfs_refused", State(True, None, 4_102, 2_711_000, None, ("battery/current_now", "battery/voltage_now"))),
        ("no_counter", State(True, None, 3_987, None, None)),
        ("milliamperes", State(True, -310, 4_050_000, None, None)),
        ("laptop", State(True, 912_000, 11_822_000, None, None)),
        ("laptop_on_mains", State(True, 0, 12_401_000, None, "Mains")),
        ("nothing", State()),
    ],
)
def test_what_is_printed_is_understood(name: str, wanted: State) -> None:
    assert parse(sample(name)) == wanted


PROBLEMS = {
    "pixel_on_usb": ("being charged (USB)", "adb tcpip"),
    "no_counter": ("neither current and voltage nor a charge counter",),
    "milliamperes": ("which would be 1.25", "current_unit is uA"),
    "laptop_on_mains": ("being charged (Mains)",),
    "nothing": ("there is no battery",),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_says_why_it_cannot_measure(name: str) -> None:
    meter = Battery(shell=lambda script: sample(name))
    assert all(words in str(meter.problem()) for words in PROBLEMS[name])
    with pytest.raises(DeviceError, match="cannot measure here"), meter.measure():
        raise AssertionError("it measured")


def test_a_phone_that_counts_in_milliamperes_can_be_told_so() -> None:
    phone = SimpleNamespace(shell=lambda script: sample("milliamperes"))
    assert Battery().on({"current_unit": "mA"}, phone).problem() is None  # type: ignore[arg-type]


def test_what_the_system_refuses_is_named_where_nothing_else_helps() -> None:
    meter = Battery(shell=lambda script: sample("sysfs_refused"), source="sysfs")
    assert "refuses to show battery/current_now, battery/voltage_now" in str(meter.problem())


def wavering(script: str, numbers: itertools.count = itertools.count()) -> str:  # type: ignore[type-arg]  # noqa: B008
    """A gauge at 4 V that goes between 400 and 600 mA."""
    return f"node battery\ntype=Battery\nstatus=Discharging\ncurrent_now={-400_000 - 200_000 * (next(numbers) % 2)}\nvoltage_now=4000000\ndumpsys\n"


def test_energy_is_power_times_time_whatever_the_sign() -> None:
    meter = Battery(shell=wavering, interval_s=0.01)
    assert meter.problem() is None
    began = time.perf_counter()
    with meter.measure() as reading:
        assert reading.energy_mj != reading.energy_mj
        time.sleep(0.4)
    took = time.perf_counter() - began
    assert 1600 * 0.4 <= reading.energy_mj <= 2400 * took
    assert 2 < reading.about["rate_hz"] < 110
    assert "gauge" in reading.about["quality"]
    assert reading.about["charging"] is None


def test_a_gauge_that_does_not_move_gives_no_figure() -> None:
    with Battery(shell=lambda script: sample("pixel_on_battery"), interval_s=0.01).measure() as reading:
        time.sleep(0.1)
    assert reading.energy_mj != reading.energy_mj
    assert "did not move" in reading.about["problem"]


def test_a_charger_that_comes_while_it_is_measured_spoils_the_figure() -> None:
    texts = itertools.chain([sample("pixel_on_battery")] * 3, itertools.repeat(sample("pixel_on_usb")))
    with Battery(shell=lambda script: next(texts), interval_s=0.01).measure() as reading:
        time.sleep(0.2)
    assert reading.energy_mj != reading.energy_mj
    assert reading.about["charging"] == "USB"
    assert "plugged in" in reading.about["problem"]


def test_a_link_that_is_lost_spoils_the_figure_and_nothing_else() -> None:
    def shell(script: str, left: list[int] = [3]) -> str:  # noqa: B006
        left[0] -= 1
        if left[0] < 0:
            raise DeviceError("the link is lost")
        return sample("pixel_on_battery")

    with Battery(shell=shell, interval_s=0.01).measure() as reading:
        time.sleep(0.1)
    assert "the link is lost" in reading.about["problem"]


def test_the_charge_counter_is_used_where_the_current_is_refused() -> None:
    texts = iter([sample("sysfs_refused"), sample("sysfs_refused").replace("2711000", "2710000")])
    meter = Battery(shell=lambda script: next(texts))
    with meter.measure() as reading:
        pass
    assert reading.energy_mj == pytest.approx(1000 * 3.6 * 4.102)  # 1 mAh at 4.102 V
    assert "coarse" in reading.about["quality"]
    assert Battery(shell=lambda script: sample("sysfs_refused")).least_s > Battery(shell=wavering).least_s


def test_a_charge_counter_that_does_not_fall_gives_no_figure() -> None:
    with Battery(shell=lambda script: sample("sysfs_refused")).measure() as reading:
        pass
    assert reading.energy_mj != reading.energy_mj
    assert "did not fall" in reading.about["problem"]


def test_readings_that_are_not_evenly_spaced_are_weighted_by_time() -> None:
    assert mean_power([(0, 100), (1, 100), (9, 300), (10, 300)]) == pytest.approx((100 + 8 * 200 + 300) / 10)
