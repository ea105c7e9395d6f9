"""A Monsoon HVPM or LVPM power monitor between battery terminals and phone, through its maker's package `monsoon`."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import Device, Options

LEAST_S = 2.0
CHUNK = 500
"""Samples that are taken from the monitor at a time; it makes 5000 a second."""

MILLISECONDS = 1000.0

Connect = Callable[["Monsoon"], Any]
"""Gives a sampling engine of the package, or raises DeviceError."""


@dataclass(slots=True)
class MonsoonReading:
    """energy_mj: what went through the main channel; NaN before the end, or where nothing was sampled, which `about` explains."""

    about: dict[str, Any]
    energy_mj: float = field(default=float("nan"))


def connect(meter: Monsoon) -> Any:
    """The monitor, ready to sample its main channel. Raises DeviceError that says what is missing."""
    if importlib.util.find_spec("Monsoon") is None:
        raise DeviceError("the package of the monitor's maker is not installed", mend="pip install 'mobiprox-meter-monsoon[hardware]'")
    from .hardware import engine

    return engine(meter.model, meter.serial)


@dataclass(frozen=True, slots=True)
class Monsoon:
    """What flows into the device through the monitor's main channel. The monitor's voltage is left as it was set."""

    model: str = "HVPM"
    serial: int | None = None
    connect: Connect = connect
    phone: Callable[[str], str] | None = None
    name: str = "monsoon"
    quality: str = "the whole device, by an instrument in place of its battery"
    rate_hz: float = 5000.0
    summary: str = "A Monsoon power monitor in place of the battery"
    options: Mapping[str, Any] = field(
        default_factory=lambda: {
            "type": "object",
            "properties": {
                "model": {"enum": ["HVPM", "LVPM"], "default": "HVPM", "description": "the monitor: high or low voltage"},
                "serial": {
                    "type": ["integer", "null"],
                    "default": None,
                    "description": "serial number of the monitor; null: the first that is found",
                },
            },
        }
    )

    @property
    def least_s(self) -> float:
        """Seconds that a measurement should take."""
        return LEAST_S

    def on(self, options: Options, device: Device) -> Monsoon:
        """The monitor that the options name; the device is whatever is wired to it."""
        return replace(
            self,
            model=options.get("model", self.model),
            serial=options.get("serial", self.serial),
            phone=getattr(device, "shell", None),
        )

    def problem(self) -> str | None:
        """Why it cannot measure here and what to do about it; None if it can."""
        try:
            engine = self.connect(self)
        except DeviceError as error:
            return f"{error.what}: {error.mend}"
        engine.monsoon.closeDevice()
        return None

    @contextmanager
    def measure(self) -> Iterator[MonsoonReading]:
        """Measure what runs inside. Raises DeviceError where there is no monitor."""
        engine = self.connect(self)
        samples: list[tuple[float, float]] = []  # milliseconds, milliwatts
        faults: list[str] = []
        started, done = threading.Event(), threading.Event()

        def sample() -> None:
            try:
                if engine.periodicStartSampling() is False:
                    raise RuntimeError("it is not calibrated")
                started.set()
                while not done.is_set():
                    samples.extend(powers(engine.periodicCollectSamples(CHUNK)))
                engine.periodicStopSampling()
            except Exception as error:
                faults.append(f"{type(error).__name__}: {error}")
            finally:
                started.set()

        reading = MonsoonReading({"quality": self.quality, "charging": self._charger()})
        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        started.wait()
        began = time.perf_counter()
        try:
            yield reading
        finally:
            seconds = time.perf_counter() - began
            done.set()
            thread.join()
            with contextlib.suppress(Exception):
                engine.monsoon.closeDevice()
        reading.about["rate_hz"] = len(samples) / seconds
        if faults or len(samples) < 2:
            reading.about["problem"] = f"the monitor failed: {faults[0]}" if faults else f"{len(samples)} sample(s) in {seconds:.1f} s"
        else:
            reading.energy_mj = sum(power for _, power in samples) / len(samples) * seconds

    def _charger(self) -> str | None:
        """USB that feeds the phone past the monitor would make it look frugal; None where it does not, or is not known."""
        if self.phone is None:
            return None
        said = self.phone("dumpsys battery 2>/dev/null | sed -n 's/^ *\\(AC\\|USB\\|Wireless\\|Dock\\) powered: true.*/\\1/p'").split()
        return f"{', '.join(said)}, which the monitor does not see" if said else None


def powers(collected: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """(milliseconds, milliwatts) of what the engine gives: times, main mA, USB mA, auxiliary mA, main volts, USB volts."""
    times, milliamperes, volts = collected[0], collected[1], collected[4]
    return [(MILLISECONDS * t, i * v) for t, i, v in zip(times, milliamperes, volts, strict=False)]
