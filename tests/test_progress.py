"""What people see of a long stage."""

from __future__ import annotations

import io

import pytest

from mobiprox_core.interfaces import Progress
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
