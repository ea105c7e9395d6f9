"""Heartbeats: a running session compares what every level takes with what was profiled, and corrects its table.

A beat is one inference. Devices, clocks and temperatures differ from those of the profile; a level whose median over `WINDOW` beats is
off by more than `TOLERANCE` has drifted (Hoffmann, "Application heartbeats", 2010, has the word). All of the table follows: levels that
were not seen yet are taken to be off by as much as those that were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median

WINDOW = 50
TOLERANCE = 0.2


@dataclass(frozen=True, slots=True)
class Drift:
    """A level took `measured_ms`, median of WINDOW beats up to number `beat`, where the table said `expected_ms`."""

    beat: int
    level: int
    expected_ms: float
    measured_ms: float

    def __str__(self) -> str:
        return f"level {self.level} takes {self.measured_ms:.3g} ms, {self.measured_ms / self.expected_ms:.2g} times what was expected"


class Heartbeat:
    """beats: inferences so far, reruns included. drifts: all that were found, oldest first."""

    def __init__(self, profiled_ms: Sequence[float]) -> None:
        """profiled_ms: per level, the exact one first."""
        self.beats = 0
        self.drifts: tuple[Drift, ...] = ()
        self._profiled = tuple(profiled_ms)
        self._corrected: dict[int, float] = {}
        self._waiting: tuple[list[float], ...] = tuple([] for _ in self._profiled)
        self.relative_costs = self._relative()
        """The table relative to level 0, as `LevelCalibration.relative_cost` is."""

    def beat(self, level: int, latency_ms: float) -> Drift | None:
        """Note one inference; the drift, where this one completes the evidence for it."""
        self.beats += 1
        waiting = self._waiting[level]
        waiting.append(latency_ms)
        if len(waiting) < WINDOW:
            return None
        measured, expected = median(waiting), self.latencies_ms[level]
        waiting.clear()
        if abs(measured / expected - 1) <= TOLERANCE:
            self._corrected.setdefault(level, expected)
            return None
        self._corrected[level] = measured
        self.relative_costs = self._relative()
        drift = Drift(self.beats, level, expected, measured)
        self.drifts = (*self.drifts, drift)
        return drift

    @property
    def pace(self) -> float:
        """How much longer inferences take here than profiled: the geometric mean over the levels that were seen; 1 before that."""
        ratios = [log(ms / self._profiled[level]) for level, ms in self._corrected.items()]
        return exp(sum(ratios) / len(ratios)) if ratios else 1.0

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """The table as it stands, per level."""
        pace = self.pace
        return tuple(self._corrected.get(level, ms * pace) for level, ms in enumerate(self._profiled))

    def _relative(self) -> tuple[float, ...]:
        latencies = self.latencies_ms
        return tuple(ms / latencies[0] for ms in latencies)
