"""Energy of inferences: by the meter that fits the device, over windows that mean something, and no figure where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobiprox_core.energy import measure, meter_at
from mobiprox_core.errors import DeviceError


class Clock:
    """Time that passes only when somebody works or sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("mobiprox_core.energy.time", clock)
    return clock


class Watts:
    """Two watts, always; or nothing that it could tell."""

    name = "watts"
    least_s = 0.0

    def __init__(
        self, clock: Clock | None = None, problem: str | None = None, about: Mapping[str, Any] | None = None, able: bool = True
    ) -> None:
        self.clock, self._problem, self.about, self.able = clock or Clock(), problem, about or {}, able

    def problem(self) -> str | None:
        return self._problem

    @contextmanager
    def measure(self) -> Iterator[Any]:
        reading, began = SimpleNamespace(energy_mj=float("nan"), about=self.about), self.clock.now
        yield reading
        if self.able:
            reading.energy_mj = 2000 * (self.clock.now - began)


class Runner:
    """Batches that take 2 ms at level 0 and 1 ms at level 1; the runner's own loop may wait before it begins."""

    plan = SimpleNamespace(levels=((0,), (1,)))

    def __init__(self, clock: Clock, waits_s: float = 0.0) -> None:
        self.clock, self.level, self.waits_s = clock, 0, waits_s

    def set_level(self, level: int) -> None:
        self.level = level

    def once(self) -> None:
        self.clock.sleep((0.002, 0.001)[self.level])

    def time(self, operators: None, variants: Any, seconds: float) -> list[Any]:
        self.clock.sleep(seconds + self.waits_s)
        return [np.full(5, (2.0, 1.0)[variants[0][0]])]


@pytest.mark.parametrize("is_far", [False, True])
def test_energy_of_one_batch_is_power_times_its_time(is_far: bool, clock: Clock) -> None:
    runner, meter = Runner(clock), Watts(clock, about={"quality": "made up", "rate_hz": 5})
    found = measure(runner, (0, 1), runner.once, meter, 0.2, is_far)  # type: ignore[arg-type]
    assert found.mj == pytest.approx((4.0, 2.0))
    assert found.about["idle_mw"] == pytest.approx(2000)
    assert (found.about["meter"], found.about["quality"], found.about["rate_hz"]) == ("watts", "made up", 5)


def test_a_meter_that_cannot_tell_gives_no_figure_but_a_reason(clock: Clock) -> None:
    runner, meter = Runner(clock), Watts(clock, about={"problem": "it is stuck"}, able=False)
    found = measure(runner, (0,), runner.once, meter, 0.01, False)  # type: ignore[arg-type]
    assert found.mj == (None,)
    assert found.about["problem"] == "it is stuck"


def test_a_device_that_waited_is_not_charged_for_it(clock: Clock) -> None:
    runner = Runner(clock, waits_s=1.2)
    found = measure(runner, (0,), runner.once, Watts(clock), 0.1, True)  # type: ignore[arg-type]
    assert found.mj == (None,)
    assert "waited" in found.about["problem"]


def test_a_slow_meter_is_given_its_time(clock: Clock) -> None:
    slow, runner = Watts(clock), Runner(clock)
    slow.least_s = 60.0
    assert measure(runner, (), runner.once, slow, 0.01, False).about["seconds"] == 60.0  # type: ignore[arg-type]
    assert clock.now == 160.0


def test_a_meter_of_this_machine_does_not_measure_a_phone() -> None:
    here, phone = SimpleNamespace(info=SimpleNamespace(name="cpu")), SimpleNamespace(info=SimpleNamespace(name="a phone"), shell=str)
    meter = Watts()
    assert meter_at(meter, {}, here) is meter  # type: ignore[arg-type, comparison-overlap]
    with pytest.raises(DeviceError, match="measures this machine, but the network runs on 'a phone'"):
        meter_at(meter, {}, phone)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="cannot measure here: no permission"):
        meter_at(Watts(problem="no permission"), {}, here)  # type: ignore[arg-type]


def test_a_meter_that_can_is_placed_at_the_device_with_its_options() -> None:
    class Anywhere(Watts):
        def on(self, options: Mapping[str, Any], device: Any) -> Watts:
            return Watts(problem=f"{options['rail']} of {device.info.name}")

    phone = SimpleNamespace(info=SimpleNamespace(name="a phone"), shell=str)
    with pytest.raises(DeviceError, match="GPU of a phone"):
        meter_at(Anywhere(), {"rail": "GPU"}, phone)  # type: ignore[arg-type]
