"""Interrupted and resumed: what is kept, what is done again, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mobiprox_core.errors import UsageError
from mobiprox_core.ledger import JOURNAL, LEDGER, Journal, Ledger, write_json


class Stage:
    """A stage that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.said: list[tuple[str, str]] = []

    def run(self, folder: Path, *, resume: bool, inputs: dict[str, object] | None = None) -> None:
        def work(journal: Journal) -> None:
            self.runs += 1
            write_json(folder / "profile.json", {"answer": 42})

        Ledger(folder, resume=resume, say=lambda *said: self.said.append(said)).stage(
            "profile", inputs or {"seed": 0}, ["profile.json"], work
        )


def test_a_finished_stage_is_not_repeated(tmp_path: Path) -> None:
    stage = Stage()
    stage.run(tmp_path, resume=False)
    stage.run(tmp_path, resume=True)
    assert stage.runs == 1


def test_without_resume_all_starts_afresh_and_foreign_files_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    stage = Stage()
    stage.run(tmp_path, resume=False)
    stage.run(tmp_path, resume=False)
    assert stage.runs == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_changed_inputs_are_named_and_the_stage_is_done_again(tmp_path: Path) -> None:
    stage = Stage()
    stage.run(tmp_path, resume=False, inputs={"seed": 0, "tuning data": "a", "plugins": [1]})
    stage.run(tmp_path, resume=True, inputs={"seed": 0, "tuning data": "b", "plugins": [1]})
    assert stage.runs == 2
    assert stage.said[-1] == ("profile", "done again, because of what changed: tuning data")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "profile.json").unlink(),
        lambda folder: (folder / "profile.json").write_text("{}"),
        lambda folder: (folder / LEDGER).write_text('{"schema": 1, "sta'),
        lambda folder: (folder / LEDGER).write_text('{"stages": {"profile": {"inputs": 3}}}'),
    ],
)
def test_a_missing_or_damaged_result_is_made_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    stage = Stage()
    stage.run(tmp_path, resume=False)
    damage(tmp_path)
    stage.run(tmp_path, resume=True)
    assert stage.runs == 2


def test_an_interrupted_stage_loses_only_the_measurement_in_progress(tmp_path: Path) -> None:
    done: list[int] = []

    def work(journal: Journal, *, fail_at: int | None) -> None:
        def measure(i: int) -> int:
            if i == fail_at:
                raise KeyboardInterrupt
            done.append(i)
            return i * i

        known = [journal.recall("square", i) for i in range(6)]
        squares = [journal.note("square", i, value=measure(i)) if square is None else square for i, square in enumerate(known)]
        write_json(tmp_path / "squares.json", squares)

    with pytest.raises(KeyboardInterrupt):
        Ledger(tmp_path, resume=False).stage("squares", {}, ["squares.json"], lambda j: work(j, fail_at=4))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"key": "torn')  # as a power cut would leave it
    Ledger(tmp_path, resume=True).stage("squares", {}, ["squares.json"], lambda j: work(j, fail_at=None))
    assert done == [0, 1, 2, 3, 4, 5]


def test_measurements_made_under_other_inputs_are_not_taken_over(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path / JOURNAL, scope) for scope in ("cpu", "gpu"))
    first.note("latency", "conv", value=1.0)
    assert second.recall("latency", "conv") is None
    second.note("latency", "conv", value=2.0)
    assert Journal(tmp_path / JOURNAL, "cpu").recall("latency", "conv") == 1.0


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out"):
        Ledger(tmp_path / "file" / "run", resume=False)
