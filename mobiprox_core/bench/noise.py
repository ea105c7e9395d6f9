"""How busy the machine was while something was measured: numbers from a crowded machine say little."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

TOLERATED_CORES = 0.12
"""A block that lacked more than so many cores is disturbed."""

_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; guest time is within user


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment. wall_s: any origin; cpu_s: of this process, all threads; busy_s: of all cores, None where the system does not tell."""

    wall_s: float
    cpu_s: float
    busy_s: float | None

    @classmethod
    def now(cls) -> Clock:
        return cls(perf_counter(), process_time(), machine_busy_s())


@dataclass(frozen=True, slots=True)
class Load:
    """Between two moments. cores: used by this process; others: used by everything else, the hypervisor's other guests too."""

    seconds: float
    cores: float
    others: float | None

    @classmethod
    def between(cls, begin: Clock, end: Clock) -> Load:
        seconds = max(end.wall_s - begin.wall_s, 1e-9)
        cpu = end.cpu_s - begin.cpu_s
        if begin.busy_s is None or end.busy_s is None:
            return cls(seconds, cpu / seconds, None)
        return cls(seconds, cpu / seconds, max(0.0, end.busy_s - begin.busy_s - cpu) / seconds)

    def lacking(self, threads: int, cores: int) -> float | None:
        """How many of the cores that `threads` threads want were taken by others, of `cores` in all; None where unknown."""
        return None if self.others is None else max(0.0, self.others + min(threads, cores) - cores)


def machine_busy_s() -> float | None:
    """Seconds that all cores together were not idle since the start of the system; None where /proc/stat does not say."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]
        busy = sum(fields[i] for i in _BUSY)
    except (OSError, ValueError, IndexError):
        return None
    return busy / os.sysconf("SC_CLK_TCK") if busy else None


def load_average() -> float | None:
    """Processes that want a core, averaged over the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
