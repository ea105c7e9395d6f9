"""Progress for people: a line that moves on a terminal, a line per stage elsewhere. Always on stderr; stdout is for results."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from .interfaces import Device, Progress, ProgressSink
from .measurement import OperatingPoint, pareto_front

_BAR = 24
_SELDOM_S = 15.0
"""Where no line can move, one says how far it is after so many seconds."""


def tell_programs(device: Device, progress: ProgressSink) -> None:
    """Say where compiled kernels came from, if the device knows."""
    if text := str(getattr(device, "programs", "")):
        progress(Progress("kernels", 0, 0, text))


class ProgressPrinter:
    """A `ProgressSink` that prints. As a context manager it leaves the terminal clean."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._moves = self._stream.isatty()
        self._started = time.perf_counter()
        self._stage: str | None = None
        self._drawn = self._started
        self._line = ""
        self._front: tuple[OperatingPoint, ...] = ()

    def measured(self, point: OperatingPoint) -> None:
        """A configuration was measured: on a terminal the best so far stand in a table below the bar."""
        if self._moves:
            self._front = pareto_front((*self._front, point))
            self._draw()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            self._clear()
            self._stage, self._line, self._front = progress.stage, "", ()
            note = f": {progress.note}" if progress.note and not progress.total else ""
            self._write(f"[{time.perf_counter() - self._started:6.1f} s] {progress.stage}{note}\n")
        now = time.perf_counter()
        if self._moves and progress.total and (now - self._drawn > 0.1 or progress.done == progress.total):
            self._drawn = now
            self._line = _line(progress)
            self._draw()
        elif not self._moves and progress.remaining_s is not None and now - self._drawn > _SELDOM_S:
            self._drawn = now
            self._write(f"[{now - self._started:6.1f} s] {progress.stage}: {progress.done} of {progress.total},{_left(progress)}\n")

    def __enter__(self) -> ProgressPrinter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def _draw(self) -> None:
        """The bar and the table in place of what was there; the cursor is left on the bar."""
        size = shutil.get_terminal_size()
        lines = [self._line, *_table(self._front, size.lines - 3)]
        self._clear()
        self._write("\n".join(line[: size.columns - 1] for line in lines) + "\r" + f"\x1b[{len(lines) - 1}A" * (len(lines) > 1))

    def _clear(self) -> None:
        if self._moves:
            self._write("\r\x1b[J")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _table(front: Sequence[OperatingPoint], most: int) -> list[str]:
    """The levels found so far, evenly chosen where there are more than fit."""
    if len(front) < 2 or most < 3:
        return []
    shown = [front[round(i * (len(front) - 1) / (most - 2))] for i in range(most - 1)] if len(front) >= most else front
    exact_ms = front[0].latency_ms
    rows = ["  loss    latency ms   speedup"]
    for point in shown:
        bar = "=" * max(1, round(_BAR * point.latency_ms / max(exact_ms, point.latency_ms)))
        rows.append(f"{point.qos_loss:6.2f}  {point.latency_ms:12.4g}  {exact_ms / point.latency_ms:7.2f}x  {bar}")
    return rows


def _line(progress: Progress) -> str:
    filled = _BAR * min(progress.done, progress.total) // progress.total
    return f"  [{'#' * filled}{'.' * (_BAR - filled)}] {progress.done}/{progress.total}{_left(progress)} {progress.note}"


def _left(progress: Progress) -> str:
    seconds = progress.remaining_s
    if seconds is None or progress.done >= progress.total:
        return ""
    return f" {seconds:.0f} s left" if seconds < 100 else f" {seconds / 60:.0f} min left"
