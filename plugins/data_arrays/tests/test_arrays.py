from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mobiprox_data_arrays.arrays import Arrays

from mobiprox_core.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x = np.arange(10 * 3, dtype=np.uint8).reshape(10, 3)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(10) % 3)
    np.savez(tmp_path / "all.npz", x=x, y=np.arange(10) % 3, who=np.repeat(["ann", "bob"], 5))
    return tmp_path


def test_arrays_of_single_files_are_read(folder: Path) -> None:
    samples = Arrays().load("all", {"inputs": "x.npy", "labels": "y.npy", "scale": 0.5}, folder)
    assert samples.inputs.dtype == np.float32
    np.testing.assert_array_equal(samples.inputs, np.arange(30).reshape(10, 3) / 2)
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64
    assert samples.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_arrays_of_one_archive_are_read_by_key(folder: Path) -> None:
    options = {"inputs": "all.npz", "inputs_key": "x", "labels_key": "y", "groups_key": "who", "classes": ["a", "b", "c"]}
    samples = Arrays().load("all", options, folder)
    assert samples.groups is not None
    assert samples.groups[[0, 9]].tolist() == ["ann", "bob"]
    assert samples.classes == ("a", "b", "c")


def test_absolute_paths_are_taken_as_they_are(folder: Path) -> None:
    assert len(Arrays().load("all", {"inputs": str(folder / "x.npy")}, Path("/nowhere")).inputs) == 10


@pytest.mark.parametrize(("split", "rows"), [("0:4", [0, 1, 2, 3]), ("8:", [8, 9]), (":2", [0, 1]), ("5:100", [5, 6, 7, 8, 9])])
def test_a_split_is_a_range_of_samples(folder: Path, split: str, rows: list[int]) -> None:
    samples = Arrays().load(split, {"inputs": "x.npy", "labels": "y.npy"}, folder)
    assert (samples.inputs[:, 0] / 3).tolist() == rows


def test_a_limit_holds_within_the_split(folder: Path) -> None:
    samples = Arrays().load("4:", {"inputs": "x.npy", "limit": 3}, folder)
    assert (samples.inputs[:, 0] / 3).tolist() == [4, 6, 8]


@pytest.mark.parametrize(
    ("options", "split", "what"),
    [
        ({"inputs": "none.npy"}, "all", "no file"),
        ({"inputs": "all.npz"}, "all", "named arrays"),
        ({"inputs": "all.npz", "inputs_key": "z"}, "all", "no array z"),
        ({"inputs": "x.npy", "inputs_key": "x"}, "all", r"no \.npz"),
        ({"inputs": "x.npy"}, "tune", "no split"),
        ({"inputs": "x.npy"}, "20:", "empty"),
        ({"inputs": "x.npy", "labels": "short.npy"}, "all", "one each"),
        ({"inputs": "x.npy", "labels": "negative.npy"}, "all", "negative"),
        ({"inputs": "x.npy", "labels": "half.npy"}, "all", "whole numbers"),
        ({"inputs": "x.npy", "labels": "words.npy"}, "all", "whole numbers"),
        ({"inputs": "x.npy", "labels": "y.npy", "classes": ["only"]}, "all", "beyond"),
        ({"inputs": "words.npy"}, "all", "numbers"),
        ({"inputs": "nan.npy"}, "all", "finite"),
        ({"inputs": "damaged.npy"}, "all", "readable"),
        ({"inputs": "objects.npy"}, "all", "readable"),
    ],
)
def test_what_does_not_fit_is_an_error_with_a_mend(folder: Path, options: dict[str, Any], split: str, what: str) -> None:
    np.save(folder / "short.npy", np.zeros(9, dtype=int))
    np.save(folder / "negative.npy", np.full(10, -1))
    np.save(folder / "half.npy", np.full(10, 0.5))
    np.save(folder / "words.npy", np.full(10, "a"))
    np.save(folder / "nan.npy", np.full((10, 2), np.nan))
    np.save(folder / "objects.npy", np.array([None] * 10), allow_pickle=True)
    (folder / "damaged.npy").write_bytes((folder / "x.npy").read_bytes()[:-5])
    with pytest.raises(DataError, match=what) as caught:
        Arrays().load(split, options, folder)
    assert caught.value.mend or what == "empty"


def test_targets_go_with_their_inputs(tmp_path: Path) -> None:
    inputs = np.arange(24, dtype=np.float32).reshape(6, 4)
    np.savez(tmp_path / "mine.npz", x=inputs, t=2 * inputs)
    options = {"inputs": "mine.npz", "inputs_key": "x", "targets_key": "t", "limit": 2}
    samples = Arrays().load("1:5", options, tmp_path)
    assert samples.targets is not None
    np.testing.assert_array_equal(samples.targets, 2 * samples.inputs)
    np.savez(tmp_path / "short.npz", x=inputs, t=inputs[:3])
    with pytest.raises(DataError, match="targets are 3, but there are 6 inputs"):
        Arrays().load("all", options | {"inputs": "short.npz"}, tmp_path)
