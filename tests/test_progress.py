"""What people see of a long stage."""

from __future__ import annotations

import io

import pytest

from mobiprox_core.configuration import Configuration
from mobiprox_core.interfaces import Progress
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.progress import ProgressPrinter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_says_how_much_is_left() -> None:
    stream = Terminal()
    with ProgressPrinter(stream) as show:
        show(Progress("profile", 0, 40))
        show._drawn = 0.0
        show(Progress("profile", 10, 40, "settings", remaining_s=31.4))
    assert "10/40 31 s left settings" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "said"), [(31.4, "10 of 40, 31 s left"), (600, "10 of 40, 10 min left")])
def test_elsewhere_a_line_now_and_then_says_it(seconds: float, said: str) -> None:
    stream = io.StringIO()
    with ProgressPrinter(stream) as show:
        show(Progress("profile", 0, 40))
        show(Progress("profile", 5, 40, remaining_s=seconds))
        assert "left" not in stream.getvalue()
        show._drawn = -100.0
        show(Progress("profile", 10, 40, remaining_s=seconds))
    assert f"profile: {said}" in stream.getvalue()


def test_the_best_so_far_stand_in_a_table_on_a_terminal_and_nothing_is_said_elsewhere() -> None:
    points = [OperatingPoint(Configuration({}), loss, latency_ms) for loss, latency_ms in ((0.0, 4.0), (3.0, 3.5), (1.0, 2.0), (2.0, 1.0))]
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        with ProgressPrinter(stream) as show:
            show(Progress("measure", 0, 4))
            for point in points:
                show.measured(point)
        drawn = stream.getvalue().split("\x1b[J")
        assert ("4.00x" in stream.getvalue()) == shown
        if shown:
            table = next(part for part in reversed(drawn) if "speedup" in part)
            assert [line.split()[1] for line in table.splitlines() if "x" in line and "=" in line] == ["4", "2", "1"]
            assert drawn[-1] == ""
        else:
            assert "\x1b" not in stream.getvalue()
