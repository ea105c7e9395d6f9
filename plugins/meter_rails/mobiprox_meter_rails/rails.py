"""Power rails: phones with energy counters on their supplies (Pixel 6 and later, a few others) show them to perfetto.

https://perfetto.dev/docs/data-sources/battery-counters. The counters run on whether the phone is charged or not.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import Device, Options

from .trace import Rails as Counters
from .trace import read

Shell = Callable[[str], str]

LEAST_S = 3.0
PROBE_S = 1.0
FOLDER = "/data/misc/perfetto-traces"
"""The one place where Android lets perfetto write."""

CONFIG = """buffers {{ size_kb: 8192 }}
data_sources {{ config {{ name: "android.power"
  android_power_config {{ battery_poll_ms: {poll_ms} collect_power_rails: true }} }} }}
duration_ms: {duration_ms}
"""

MOST_S = 3600.0
"""A trace that nobody stops ends by itself."""

POWERED = "dumpsys battery 2>/dev/null | sed -n 's/^ *\\(AC\\|USB\\|Wireless\\|Dock\\) powered: true.*/\\1/p'"


@dataclass(slots=True)
class RailsReading:
    """energy_mj: of the chosen rails; NaN before the end, or where the trace has none, which `about` explains."""

    about: dict[str, Any]
    energy_mj: float = field(default=float("nan"))


@dataclass(frozen=True, slots=True)
class Rails:
    """The sum of a phone's power rails. shell: runs a script on the phone; None: there is no phone. rails: patterns of their names."""

    shell: Shell | None = None
    rails: tuple[str, ...] = ("*",)
    poll_ms: int = 250
    name: str = "rails"
    quality: str = "supplies of the parts of a phone, counted by the phone"
    summary: str = "Energy counters on the supplies of a phone, through perfetto (Pixel 6 and later)"
    options: Mapping[str, Any] = field(
        default_factory=lambda: {
            "type": "object",
            "properties": {
                "rails": {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "default": ["*"],
                    "description": "patterns of the names or subsystems of rails that are summed",
                },
                "poll_ms": {"type": "integer", "minimum": 100, "default": 250, "description": "milliseconds between readings"},
            },
        }
    )

    @property
    def rate_hz(self) -> float:
        """Readings a second that it aims at; `about` has those that it got."""
        return 1000 / self.poll_ms

    @property
    def least_s(self) -> float:
        """Seconds that a measurement should take."""
        return LEAST_S

    def on(self, options: Options, device: Device) -> Rails:
        """The rails of the phone that is the device."""
        return replace(
            self,
            shell=getattr(device, "shell", None),
            rails=tuple(options.get("rails", self.rails)),
            poll_ms=options.get("poll_ms", self.poll_ms),
        )

    def problem(self) -> str | None:
        """Why it cannot measure here and what to do about it; None if it can. Takes about a second."""
        if self.shell is None:
            return "it measures phones, and the network runs on this machine: choose 'backend: android'"
        if not self.shell("command -v perfetto").strip():
            return "the phone has no perfetto: it came with Android 9"
        process = self._start(PROBE_S)
        time.sleep(PROBE_S)
        counters, why = self._stop(process)
        if why:
            return f"perfetto gives no trace: {why}; on Android 9 and 10 switch it on: adb shell setprop persist.traced.enable 1"
        if not counters.names:
            return "this phone's rails have no counters (Pixel 6 and later have them)"
        if not self._chosen(counters):
            known = ", ".join(sorted(counters.names.values()))
            return f"none of its rails is called {' or '.join(self.rails)}; there are: {known}"
        return None

    @contextmanager
    def measure(self) -> Iterator[RailsReading]:
        """Measure what runs inside. Raises DeviceError where it cannot."""
        if self.shell is None:
            raise DeviceError(f"the meter 'rails' cannot measure here: {self.problem()}", mend="leave 'energy' out")
        reading = RailsReading({"quality": self.quality, "charging": self._charger()})
        process = self._start(MOST_S)
        try:
            began = time.perf_counter()
            yield reading
            seconds = time.perf_counter() - began
        finally:
            counters, why = self._stop(process)
        chosen = self._chosen(counters)
        powers = [power for index in chosen if (power := counters.mean_mw(index)) is not None]
        reading.about["rate_hz"] = max((counters.rate_hz(index) for index in chosen), default=0.0)
        if why or len(powers) < len(chosen) or not powers:
            reading.about["problem"] = why or f"only {len(powers)} of {len(chosen)} rails were counted twice in {seconds:.1f} s"
        else:
            reading.about["quality"] += f": {len(chosen)} of {len(counters.names)} rails"
            reading.energy_mj = sum(powers) * seconds

    def _chosen(self, counters: Counters) -> Sequence[int]:
        return [
            index
            for index, name in counters.names.items()
            if any(fnmatch.fnmatch(part, pattern) for part in name.split("/") for pattern in self.rails)
        ]

    def _charger(self) -> str | None:
        assert self.shell is not None
        return ", ".join(self.shell(POWERED).split()) or None

    @property
    def _file(self) -> str:
        return f"{FOLDER}/mobiprox.pftrace"

    def _start(self, seconds: float) -> str:
        """What perfetto says: the number of its process, or what is wrong."""
        assert self.shell is not None
        config = CONFIG.format(poll_ms=self.poll_ms, duration_ms=int(1000 * seconds))
        return self.shell(f"rm -f {self._file}; echo {shlex.quote(config)} | perfetto --txt -c - --background -o {self._file} 2>&1").strip()

    def _stop(self, process: str) -> tuple[Counters, str | None]:
        """What was counted, and what went wrong. perfetto writes the file when it ends."""
        assert self.shell is not None
        number = process.split()[-1] if process else ""
        if not number.isdecimal():
            return Counters({}, {}), " ".join(process.split())[:200] or "it says nothing"
        waiting = f"for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 {number} 2> /dev/null || break; sleep 0.2; done"
        text = self.shell(f"kill -INT {number} 2> /dev/null; {waiting}; base64 {self._file} 2>&1; rm -f {self._file}")
        try:
            return read(base64.b64decode("".join(text.split()), validate=True)), None
        except (binascii.Error, ValueError):
            return Counters({}, {}), " ".join(text.split())[:200]
