"""The Monsoon meter with an engine that gives what the maker's package gives; no monitor was at hand."""

from __future__ import annotations

import importlib.util
import time
from types import SimpleNamespace
from typing import Any

import pytest
from mobiprox_meter_monsoon.monsoon import Monsoon, powers

from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import Meter
from mobiprox_core.testing import MeterContract


class TestTheMonitorOfThisMachine(MeterContract):
    @pytest.fixture
    def meter(self) -> Meter:
        return Monsoon()


class Engine:
    """250 mA and 350 mA in turn at 4.2 V, 5000 times a second, as long as it is asked."""

    def __init__(self, fails: bool = False, calibrated: bool = True) -> None:
        self.fails, self.calibrated, self.stopped, self.closed = fails, calibrated, False, False
        self.monsoon = SimpleNamespace(closeDevice=self.close)

    def close(self) -> None:
        self.closed = True

    def periodicStartSampling(self) -> Any:
        return [[], [], [], [], [], []] if self.calibrated else False

    def periodicCollectSamples(self, samples: int) -> list[list[float]]:
        time.sleep(samples / 5000)
        if self.fails:
            raise OSError("no such device")
        now = time.time()
        currents = [250.0, 350.0] * (samples // 2)
        return [[now + i / 5000 for i in range(samples)], currents, [], [], [4.2] * samples, []]

    def periodicStopSampling(self) -> None:
        self.stopped = True


def test_energy_is_current_times_voltage_times_time() -> None:
    engine = Engine()
    meter = Monsoon(connect=lambda meter: engine)
    assert meter.problem() is None
    began = time.perf_counter()
    with meter.measure() as reading:
        assert reading.energy_mj != reading.energy_mj
        time.sleep(0.5)
    assert 0.99 * 300 * 4.2 * 0.5 <= reading.energy_mj <= 1.01 * 300 * 4.2 * (time.perf_counter() - began)
    assert 100 < reading.about["rate_hz"] <= 7500
    assert engine.stopped
    assert engine.closed


def test_samples_are_main_current_times_main_voltage() -> None:
    assert powers([[0.0, 0.0002], [100.0, 200.0], [], [], [4.0, 3.9], []]) == [(0.0, 400.0), (0.2, 780.0)]


@pytest.mark.parametrize(("engine", "why"), [(Engine(fails=True), "no such device"), (Engine(calibrated=False), "not calibrated")])
def test_a_monitor_that_fails_gives_no_figure(engine: Engine, why: str) -> None:
    with Monsoon(connect=lambda meter: engine).measure() as reading:
        time.sleep(0.15)
    assert reading.energy_mj != reading.energy_mj
    assert why in reading.about["problem"]
    assert engine.closed


def test_a_phone_that_is_fed_past_the_monitor_is_reported() -> None:
    phone = SimpleNamespace(shell=lambda script: "USB\n")
    with Monsoon(connect=lambda meter: Engine()).on({}, phone).measure() as reading:  # type: ignore[arg-type]
        time.sleep(0.12)
    assert reading.about["charging"] == "USB, which the monitor does not see"


def test_without_the_makers_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert Monsoon().problem() == "the package of the monitor's maker is not installed: pip install 'mobiprox-meter-monsoon[hardware]'"
    with pytest.raises(DeviceError, match="not installed"), Monsoon().measure():
        pass


def test_options_name_the_monitor() -> None:
    seen: list[Monsoon] = []
    Monsoon(connect=lambda meter: seen.append(meter) or Engine()).on({"model": "LVPM", "serial": 20483}, SimpleNamespace()).problem()  # type: ignore[arg-type, func-returns-value]
    assert (seen[0].model, seen[0].serial) == ("LVPM", 20483)
