"""Progress for people: a line that moves on a terminal, a line per stage elsewhere. Always on stderr; stdout is for results."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

from .interfaces import Device, Progress, ProgressSink

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

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            self._clear()
            self._stage = progress.stage
            note = f": {progress.note}" if progress.note and not progress.total else ""
            self._write(f"[{time.perf_counter() - self._started:6.1f} s] {progress.stage}{note}\n")
        now = time.perf_counter()
        if self._moves and progress.total and (now - self._drawn > 0.1 or progress.done == progress.total):
            self._drawn = now
            self._clear()
            self._write(_line(progress)[: shutil.get_terminal_size().columns - 1])
        elif not self._moves and progress.remaining_s is not None and now - self._drawn > _SELDOM_S:
            self._drawn = now
            self._write(f"[{now - self._started:6.1f} s] {progress.stage}: {progress.done} of {progress.total},{_left(progress)}\n")

    def __enter__(self) -> ProgressPrinter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._moves:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _line(progress: Progress) -> str:
    filled = _BAR * min(progress.done, progress.total) // progress.total
    return f"  [{'#' * filled}{'.' * (_BAR - filled)}] {progress.done}/{progress.total}{_left(progress)} {progress.note}"


def _left(progress: Progress) -> str:
    seconds = progress.remaining_s
    if seconds is None or progress.done >= progress.total:
        return ""
    return f" {seconds:.0f} s left" if seconds < 100 else f" {seconds / 60:.0f} min left"
