"""Reads the powercap tree of Linux: one folder per zone with `name`, `energy_uj` and `max_energy_range_uj`.

https://docs.kernel.org/power/powercap/powercap.html. Processors of AMD appear under ``intel-rapl`` as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobiprox_core.errors import DeviceError

TREE = Path("/sys/class/powercap")


@dataclass(slots=True)
class RaplReading:
    """energy_mj: energy of all packages and their memory between start and end; not a number before the end."""

    energy_mj: float = field(default=float("nan"))


@dataclass(frozen=True, slots=True)
class Rapl:
    """Energy of the processor packages and their memory, everything that runs on the machine included.

    tree: root of the powercap tree.
    """

    tree: Path = TREE
    name: str = "rapl"
    summary: str = "Energy counters of Intel and AMD processors (Linux powercap)"
    quality: str = "processor packages and their memory, counted by the processor"
    rate_hz: float = 1000.0
    options: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def problem(self) -> str | None:
        """Why it cannot measure here and what to do about it; None if it can."""
        zones = self._zones()
        if not self.tree.is_dir():
            return f"there is no {self.tree}: not Linux, or a virtual machine or container that hides the counters"
        if not zones:
            return f"{self.tree} has no processor package: load the kernel module intel_rapl_msr, or measure on the bare machine"
        for zone in zones:
            try:
                _microjoules(zone / "energy_uj")
                _microjoules(zone / "max_energy_range_uj")
            except PermissionError as error:
                return (
                    f"no permission to read {error.filename}: allow it until the next start with 'sudo chmod a+r {self.tree}/*/energy_uj'"
                )
            except (OSError, ValueError) as error:
                return f"{zone} cannot be read: {error}"
        return None

    @contextmanager
    def measure(self) -> Iterator[RaplReading]:
        """Measure what runs inside. The counters move about once a millisecond and wrap once in minutes to hours: stay between.

        Raises DeviceError where the counters cannot be read.
        """
        if problem := self.problem():
            raise DeviceError(f"the meter 'rapl' cannot measure here: {problem}", mend="remove 'energy' from the experiment, or mend it")
        counters = [zone / "energy_uj" for zone in self._zones()]
        ranges = [_microjoules(counter.with_name("max_energy_range_uj")) for counter in counters]
        reading = RaplReading()
        before = [_microjoules(counter) for counter in counters]
        yield reading
        after = [_microjoules(counter) for counter in counters]
        used = (end - start if end >= start else end - start + span for start, end, span in zip(before, after, ranges, strict=True))
        reading.energy_mj = sum(used) / 1000

    def _zones(self) -> list[Path]:
        """Packages, and their memory, which a package's counter leaves out; cores and graphics are part of the package."""
        zones = []
        for zone in sorted(self.tree.glob("intel-rapl:*")):  # intel-rapl-mmio shows the same packages a second time
            try:
                name = (zone / "name").read_text().strip()
            except OSError:
                continue
            if name.startswith("package-") or name == "dram":
                zones.append(zone)
        return zones


def _microjoules(file: Path) -> int:
    return int(file.read_text())
