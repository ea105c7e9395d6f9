"""What the data set plugins share."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobiprox_core.datasets import dwelling, limited_index, located, read_arrays, scattered, swell
from mobiprox_core.errors import DataError


def test_relative_paths_start_from_the_folder_of_the_experiment(tmp_path: Path) -> None:
    assert located("a/b.npz", tmp_path) == tmp_path / "a/b.npz"
    assert located("/a/b.npz", tmp_path) == Path("/a/b.npz")


def test_a_missing_file_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file") as caught:
        read_arrays(tmp_path / "none.npz", ["x"], "set `path`")
    assert caught.value.mend == "set `path`"


def test_a_missing_array_names_those_that_are_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3), y=np.zeros(3))
    with pytest.raises(DataError, match="no array z") as caught:
        read_arrays(tmp_path / "a.npz", ["x", "z"], "")
    assert caught.value.mend == "it has x, y"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all", b"\x80\x04\x95\x00pickle"])
def test_a_damaged_file_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError):
        read_arrays(tmp_path / "a.npz", ["x"], "")


def test_every_flipped_byte_is_read_or_reported(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(20))
    sound = (tmp_path / "a.npz").read_bytes()
    for place in range(len(sound)):
        (tmp_path / "b.npz").write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        with suppress(DataError):
            read_arrays(tmp_path / "b.npz", ["x"], "")


def test_python_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError):
        read_arrays(tmp_path / "a.npz", ["x"], "")


def test_an_empty_mapping_of_options_limits_nothing() -> None:
    assert limited_index(5, {}).tolist() == [0, 1, 2, 3, 4]


@given(count=st.integers(0, 200), limit=st.integers(1, 250))
def test_a_limit_takes_evenly_spaced_samples(count: int, limit: int) -> None:
    index = limited_index(count, {"limit": limit})
    assert len(index) == min(count, limit)
    gaps = np.diff(index)
    assert not gaps.size or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


def test_a_limit_on_a_stream_takes_its_first_steps() -> None:
    assert limited_index(100, {"limit": 3}, stream=True).tolist() == [0, 1, 2]


def test_the_scattered_order_is_the_same_for_ever() -> None:
    assert scattered(["a", "b", "c", "d"], "salt") == [1, 2, 3, 0]
    assert scattered(["a", "b", "c", "d"], "pepper") != scattered(["a", "b", "c", "d"], "salt")


@given(seed=st.integers(0, 50), classes=st.integers(1, 5), steps=st.integers(1, 120))
def test_a_dwelling_stream_stays_within_a_class_for_the_stated_time(seed: int, classes: int, steps: int) -> None:
    labels = np.arange(classes * 7) % classes
    stream = labels[dwelling(labels, steps, 3, 6, np.random.default_rng(seed))]
    assert len(stream) == steps
    if classes > 1:
        ends = np.flatnonzero(np.diff(stream)) + 1
        runs = np.diff([0, *ends])
        assert all(3 <= run <= 6 for run in runs)


def test_a_dwelling_stream_uses_every_sample_before_any_twice() -> None:
    labels = np.repeat([0, 1], 20)
    stream = dwelling(labels, 400, 2, 5, np.random.default_rng(1))
    of_class = stream[labels[stream] == 0]
    assert sorted(of_class[:20]) == list(range(20))


def test_a_swell_rises_from_nothing_to_its_peak_and_falls_again() -> None:
    strength = swell(21, 10, 3.0)
    np.testing.assert_allclose(strength[[0, 5, 10, 15, 20]], [0, 3, 0, 3, 0], atol=1e-12)
    assert (np.diff(strength[:6]) > 0).all()
    assert (np.diff(strength[5:11]) < 0).all()
