"""Streams of inputs: pace, lateness, sources. The session is a stand-in that takes a set time; one on a device is in test_session.py."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobiprox_core.errors import DataError, UsageError
from mobiprox_core.live import Answer, Source, Summary, arrays, live, surroundings
from mobiprox_core.session import Prediction


@dataclass
class Clockwork:
    """A clock that only sleeping and inferring move on."""

    seconds_each: list[float]
    now: float = 100.0
    seen: list[dict[str, Any]] = field(default_factory=list)

    def infer(self, x: Any, **surroundings: Any) -> Prediction:
        self.seen.append(surroundings)
        self.now += self.seconds_each[len(self.seen) - 1]
        return Prediction(0, 0.9, 1, 1.0, 0.25, np.zeros(2, np.float32))

    def run(self, times: list[float], paced: bool = True, preparing: float = 0.0) -> list[Answer]:
        def stream() -> Iterator[tuple[float, Any]]:
            for due in times:
                self.now += preparing
                yield due, np.zeros(3, np.float32)

        def sleep(seconds: float) -> None:
            self.now += seconds

        return list(live(self, stream(), lambda: {"hour": 3.0}, paced, lambda: self.now, sleep))  # type: ignore[arg-type]


def test_inputs_wait_for_their_time() -> None:
    answers = Clockwork([0.1] * 3).run([1.0, 1.5, 2.0])
    assert [a.delay_s for a in answers] == pytest.approx([0.1] * 3)
    assert not any(a.late for a in answers)


def test_what_takes_longer_than_its_period_is_late_and_none_is_dropped() -> None:
    answers = Clockwork([0.1, 0.7, 0.1, 0.1]).run([1.0, 1.5, 2.0, 2.5])
    assert [a.late for a in answers] == [False, True, False, False]
    assert [a.delay_s for a in answers] == pytest.approx([0.1, 0.7, 0.3, 0.1])  # the third waited for the second


def test_preparation_counts_as_delay_although_a_recording_allows_it_ahead() -> None:
    answers = Clockwork([0.1] * 3).run([1.0, 1.5, 2.0], preparing=0.05)
    assert [a.delay_s for a in answers] == pytest.approx([0.15] * 3)


def test_without_pace_nothing_waits_and_nothing_is_late() -> None:
    clock = Clockwork([0.7] * 3)
    assert not any(a.late for a in clock.run([1.0, 1.5, 2.0], paced=False))
    assert clock.now == pytest.approx(100 + 3 * 0.7)


def test_the_strategy_is_told_the_surroundings_of_every_input() -> None:
    clock = Clockwork([0.1] * 2)
    clock.run([1.0, 2.0])
    assert clock.seen == [{"hour": 3.0}] * 2


def test_a_summary_adds_up() -> None:
    summary = Summary()
    for answer in Clockwork([0.1, 0.7, 0.1]).run([1.0, 1.5, 2.0]):
        summary = summary.after(answer)
    assert (summary.inputs, summary.late, summary.saved) == (3, 1, 0.75)
    assert "3 inputs at 25% of the exact cost; 1 late" in str(summary)


@pytest.mark.parametrize("kind", ["npy", "raw"])
def test_arrays_and_raw_numbers_are_read_one_by_one(kind: str) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, values)
    else:
        file.write(values.tobytes())
    file.seek(0)
    found = list(arrays(file, (2, 2), 0.5))
    assert [due for due, _ in found] == [0.5, 1.0, 1.5]
    np.testing.assert_array_equal([one for _, one in found], values)


def test_a_source_that_ends_within_an_input_is_refused_after_the_whole_ones() -> None:
    stream = arrays(io.BytesIO(np.zeros(6, np.float32).tobytes()), (2, 2), 0.0)
    next(stream)
    with pytest.raises(DataError, match="ends within input 1"):
        next(stream)


@pytest.mark.parametrize("values", [np.zeros((3, 5)), np.array(["a"]), np.zeros((2, 2), complex)])
def test_an_array_of_another_kind_is_refused(values: Any) -> None:
    file = io.BytesIO()
    np.save(file, values)
    file.seek(0)
    with pytest.raises(DataError):
        list(arrays(file, (2, 2), 0.0))


def test_signals_need_someone_to_prepare_them() -> None:
    assert Source.parse("keywords:a.wav") == Source("keywords", "a.wav")
    assert Source.parse("-") == Source(None, "-")
    assert Source.parse("C:/x.npy") == Source(None, "C:/x.npy")
    with pytest.raises(UsageError) as caught:
        Source.parse("walk.csv")
    assert "har:walk.csv" in str(caught.value.mend)


def test_the_surroundings_are_those_of_linux(tmp_path: Path) -> None:
    assert set(surroundings(tmp_path, tmp_path / "none")) == {"hour"}
    (tmp_path / "BAT0").mkdir()
    (tmp_path / "BAT0" / "capacity").write_text("42\n")
    (tmp_path / "BAT0" / "status").write_text("Discharging\n")
    (tmp_path / "temp").write_text("51500\n")
    found = surroundings(tmp_path, tmp_path / "temp")
    assert (found["battery"], found["charging"], found["temperature_c"]) == (0.42, False, 51.5)
    assert 0 <= found["hour"] < 24
