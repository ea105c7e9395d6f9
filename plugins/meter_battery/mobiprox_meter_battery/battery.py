"""The battery's gauge: current and voltage from sysfs, else the charge counter of `dumpsys battery`.

Kernel documentation says microamperes and microvolts (Documentation/ABI/testing/sysfs-class-power); vendors differ in sign and some in the
unit of the current. So the sign is not looked at, and a current whose size is implausible is refused, not guessed at.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from mobiprox_core.errors import DeviceError, MobiproxError
from mobiprox_core.interfaces import Device, Options

from .state import PROBE, State, parse

Shell = Callable[[str], str]

LEAST_S = 10.0
"""Gauges move slowly: once in a tenth of a second to several seconds."""

COUNTER_S = 60.0
"""Charge counters move in steps of about a milliampere-hour."""

PLAUSIBLE_MW = (30.0, 200_000.0)
"""Between a phone with its screen off and a large laptop."""


def _here(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, errors="replace", check=False).stdout


@dataclass(slots=True)
class BatteryReading:
    """energy_mj: what the battery gave; NaN before the end, or where the gauge could not tell, which `about` explains."""

    about: dict[str, Any]
    energy_mj: float = field(default=float("nan"))


@dataclass(frozen=True, slots=True)
class Battery:
    """What the whole phone or laptop takes out of its battery.

    shell: runs a script where the battery is. interval_s: between readings. current_unit: of `current_now`.
    """

    shell: Shell = _here
    interval_s: float = 0.25
    current_unit: str = "uA"
    source: str = "auto"
    name: str = "battery"
    quality: str = "the whole device, by the gauge of its battery"
    summary: str = "The gauge of a phone's or a laptop's battery: everything that the device consumes"
    options: Mapping[str, Any] = field(
        default_factory=lambda: {
            "type": "object",
            "properties": {
                "source": {
                    "enum": ["auto", "sysfs", "dumpsys"],
                    "default": "auto",
                    "description": "sysfs: current and voltage; dumpsys: Android's charge counter; auto: the first that can be read",
                },
                "interval_s": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.25,
                    "description": "seconds between readings of the current",
                },
                "current_unit": {"enum": ["uA", "mA"], "default": "uA", "description": "unit of current_now; mA on some phones"},
            },
        }
    )

    def on(self, options: Options, device: Device) -> Battery:
        """The battery of the device: a phone's, or this machine's."""
        return replace(
            self,
            shell=getattr(device, "shell", _here),
            source=options.get("source", self.source),
            interval_s=options.get("interval_s", self.interval_s),
            current_unit=options.get("current_unit", self.current_unit),
        )

    @property
    def rate_hz(self) -> float:
        """Readings a second that it aims at; `about` has those that it got."""
        return 1 / self.interval_s

    @property
    def least_s(self) -> float:
        """Seconds that a measurement should take."""
        return COUNTER_S if self._source(self.state()) == "dumpsys" else LEAST_S

    def state(self) -> State:
        return parse(self.shell(PROBE))

    def problem(self) -> str | None:
        """Why it cannot measure here and what to do about it; None if it can."""
        return self._problem(self.state())

    def _source(self, state: State) -> str | None:
        """Where readings come from: sysfs, dumpsys, or nowhere."""
        able = {"sysfs": state.current is not None and state.voltage is not None, "dumpsys": state.counter_uah is not None}
        return next((name for name, can in able.items() if can and self.source in ("auto", name)), None)

    def _problem(self, state: State) -> str | None:
        if not state.has_battery:
            return "there is no battery: nothing of the kind in /sys/class/power_supply, and no 'dumpsys battery'"
        if state.charger is not None:
            return (
                f"it is being charged ({state.charger}), so the current is not what the device consumes: unplug it; "
                "for a phone, connect over Wi-Fi ('adb tcpip 5555', unplug, 'adb connect ADDRESS'), or measure with a Monsoon"
            )
        if self._source(state) is None:
            refused = f"; the system refuses to show {', '.join(state.refused)}" if state.refused else ""
            return f"the battery shows neither current and voltage nor a charge counter{refused}"
        if self._source(state) == "sysfs" and not PLAUSIBLE_MW[0] <= self._mw(state) <= PLAUSIBLE_MW[1]:
            return (
                f"current_now says {state.current} and voltage_now {state.voltage}, which would be {self._mw(state):.4g} mW: "
                f"the gauge is stuck, or counts in another unit (current_unit is {self.current_unit})"
            )
        return None

    def _mw(self, state: State) -> float:
        assert state.current is not None
        assert state.voltage is not None
        milliamperes = abs(state.current) / (1000 if self.current_unit == "uA" else 1)
        volts = state.voltage / (1e6 if state.voltage > 100_000 else 1e3)  # no battery has 100 volts
        return milliamperes * volts

    @contextmanager
    def measure(self) -> Iterator[BatteryReading]:
        """Measure what runs inside. Raises DeviceError where it cannot."""
        before = self.state()
        if problem := self._problem(before):
            raise DeviceError(f"the meter 'battery' cannot measure here: {problem}", mend="mend that, or leave 'energy' out")
        if self._source(before) == "dumpsys":
            yield from self._counted(before)
        else:
            yield from self._sampled()

    def _sampled(self) -> Iterator[BatteryReading]:
        samples: list[tuple[float, float]] = []  # seconds, milliwatts
        chargers: list[str] = []
        faults: list[str] = []
        done = threading.Event()

        def sample() -> None:
            while not done.is_set():
                began = time.perf_counter()
                try:
                    state = self.state()
                except MobiproxError as error:
                    faults.append(error.what)
                    return
                if state.current is not None and state.voltage is not None:
                    samples.append(((began + time.perf_counter()) / 2, self._mw(state)))
                if state.charger is not None:
                    chargers.append(state.charger)
                done.wait(max(0.0, self.interval_s - (time.perf_counter() - began)))

        reading = BatteryReading({"quality": f"{self.quality}: current and voltage", "charging": None})
        thread = threading.Thread(target=sample, daemon=True)
        began = time.perf_counter()
        thread.start()
        try:
            yield reading
        finally:
            ended = time.perf_counter()
            done.set()
            thread.join()
        within = [(at, mw) for at, mw in samples if began <= at <= ended]
        reading.about["rate_hz"] = len(within) / (ended - began)
        reading.about["charging"] = chargers[0] if chargers else None
        if faults:
            reading.about["problem"] = f"the gauge could not be read any more: {faults[0]}"
        elif chargers:
            reading.about["problem"] = f"a charger was plugged in while it was measured ({chargers[0]})"
        elif len(within) < 2:
            reading.about["problem"] = f"{len(within)} reading(s) in {ended - began:.1f} s"
        elif len({mw for _, mw in within}) == 1:
            reading.about["problem"] = f"the gauge did not move in {ended - began:.0f} s"
        else:
            reading.energy_mj = mean_power(within) * (ended - began)

    def _counted(self, before: State) -> Iterator[BatteryReading]:
        reading = BatteryReading({"quality": f"{self.quality}: charge counter, in coarse steps", "charging": None})
        began = time.perf_counter()
        yield reading
        after, seconds = self.state(), time.perf_counter() - began
        reading.about |= {"rate_hz": 2 / seconds, "charging": after.charger}
        assert before.counter_uah is not None
        if after.charger is not None:
            reading.about["problem"] = f"a charger was plugged in while it was measured ({after.charger})"
        elif after.counter_uah is None or after.counter_uah >= before.counter_uah:
            reading.about["problem"] = f"the charge counter did not fall in {seconds:.0f} s"
        else:
            volts = [v / (1e6 if v > 100_000 else 1e3) for v in (before.voltage, after.voltage) if v is not None]
            if volts:
                reading.energy_mj = (before.counter_uah - after.counter_uah) * 3.6 * sum(volts) / len(volts)
            else:
                reading.about["problem"] = "the battery does not show its voltage"


def mean_power(samples: Sequence[tuple[float, float]]) -> float:
    """Of (seconds, milliwatts), by the trapezoidal rule."""
    area = sum((t1 - t0) * (p0 + p1) / 2 for (t0, p0), (t1, p1) in pairwise(samples))
    return area / (samples[-1][0] - samples[0][0])
