from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mobiprox_data_keywords.keywords import COPIES, ROUNDS, Keywords, pcm, tuning_rows
from mobiprox_data_keywords.mfcc import mel_bands, mfcc

from mobiprox_core.errors import DataError
from mobiprox_core.interfaces import Samples

DATA = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[3] / "../shared/data")).resolve()
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "speech_commands.npz").is_file(), reason="needs speech_commands.npz; set MOBIPROX_DATA to its folder"),
]


@cache
def load(split: str, **options: int) -> Samples:
    return Keywords().load(split, {"path": str(DATA), **options}, Path())


def test_perfect_silence_is_all_zero() -> None:
    assert not mfcc(np.zeros((2, 16000))).any()
    assert mfcc(np.zeros((2, 16000))).shape == (2, 101, 40)


def test_ten_times_the_amplitude_moves_the_first_coefficient_only() -> None:
    noise = np.random.default_rng(0).normal(scale=0.01, size=(1, 16000))
    shift = mfcc(10 * noise) - mfcc(noise)
    np.testing.assert_allclose(shift[..., 0], np.log(100) * np.sqrt(40), rtol=1e-4)
    np.testing.assert_allclose(shift[..., 1:], 0, atol=1e-4)


def test_mel_bands_overlap_from_20_to_4000_hertz() -> None:
    bands = mel_bands()
    hertz = np.linspace(0, 8000, 241)
    assert bands.shape == (40, 241)
    assert not bands[:, (hertz < 20) | (hertz > 4000)].any()
    assert (bands.sum(axis=0)[(hertz > 60) & (hertz < 3900)] > 0).all()
    assert (np.diff(bands.argmax(axis=1)) >= 0).all()


def test_clips_are_decoded_exactly() -> None:
    clip = np.array([[0, 5, -32768, 32767, -1]], dtype=np.int16)
    step = np.diff(clip.astype(np.int64), prepend=0, axis=1)
    step = (step + 32768) % 65536 - 32768
    code = (step << 1) ^ (step >> 63)
    planes = {"hi": ((code >> 8) & 255).astype(np.uint8), "lo": (code & 255).astype(np.uint8)}
    np.testing.assert_array_equal(pcm(planes, np.array([0])), clip)


def test_speakers_and_silence_are_halved_apart() -> None:
    groups = np.array([f"speaker{i % 20}" for i in range(200)] + [f"clip{i}" for i in range(30)])
    silent = np.arange(230) >= 200
    tune = tuning_rows(groups, silent)
    assert not set(groups[tune]) & set(groups[~tune])
    assert tune[~silent].sum() == 100
    assert tune[silent].sum() == 15


@pytest.mark.parametrize("split", ["tune", "stream"])
def test_a_missing_file_says_how_to_name_its_folder(tmp_path: Path, split: str) -> None:
    with pytest.raises(DataError, match=r"speech_commands\.npz") as caught:
        Keywords().load(split, {"path": "data"}, tmp_path)
    assert caught.value.mend is not None
    assert "`path`" in caught.value.mend


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(DataError, match="tune, test, tune_a, tune_b, stream"):
        load("train")


class TestWithTheData:
    pytestmark = needs_data

    def test_coefficients_and_scores_are_those_of_the_check_file(self) -> None:
        runtime = pytest.importorskip("onnxruntime")
        with np.load(DATA / "speech_commands.npz") as clips, np.load(DATA / "kws_check.npz") as check:
            own = mfcc(pcm({"hi": clips["hi"], "lo": clips["lo"]}, check["clip"]) / 32768)
            np.testing.assert_allclose(own, check["mfcc"], atol=2e-3)
            for network in ("trad", "res8"):
                session = runtime.InferenceSession(str(DATA / f"kws_honk_{network}.onnx"))
                np.testing.assert_allclose(session.run(None, {"mfcc": own[:, None]})[0], check[f"logits_{network}"], atol=5e-3)

    def test_the_splits_are_halves_without_a_common_speaker(self) -> None:
        tune, test = load("tune"), load("test")
        assert tune.groups is not None
        assert test.groups is not None
        assert not set(tune.groups) & set(test.groups)
        assert len(tune.inputs) + len(test.inputs) == 1200
        assert abs(len(tune.inputs) - 600) < 30
        for samples in (tune, test):
            assert samples.labels is not None
            assert np.bincount(samples.labels, minlength=12).min() >= 35
            assert samples.inputs.shape[1:] == (1, 101, 40)
        assert tune.classes[:3] == ("silence", "unknown", "yes")

    def test_the_halves_of_tune_have_no_speaker_in_common_and_their_clips_come_again_moved(self) -> None:
        tune, halves = load("tune"), {split: load(split) for split in COPIES}
        speakers = [set(half.groups.tolist()) for half in (tune, *halves.values())]  # type: ignore[union-attr]
        assert not speakers[1] & speakers[2]
        assert speakers[1] | speakers[2] == speakers[0]
        known, count = {clip.tobytes() for clip in tune.inputs}, 0
        for split, half in halves.items():
            assert half.labels is not None
            every = 1 + COPIES[split]
            clips, labels = ([values[first::every] for first in range(every)] for values in (half.inputs, half.labels))
            assert {clip.tobytes() for clip in clips[0]} <= known
            assert not {clip.tobytes() for copies in clips[1:] for clip in copies} & known
            assert all(np.array_equal(labels[0], other) for other in labels)
            assert abs(len(clips[0]) - len(tune.inputs) / 2) < 20
            count += len(clips[0])
        assert count == len(tune.inputs)

    def test_the_networks_understand_clips_that_were_moved(self) -> None:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(str(DATA / "kws_honk_res8.onnx"))
        half = load("tune_a")
        right = session.run(None, {"mfcc": half.inputs})[0].argmax(1) == half.labels
        clean, moved = right[::2], right[1::2]
        assert moved.mean() > clean.mean() - 0.06

    def test_a_limit_spreads_over_the_split(self) -> None:
        whole, part = load("tune"), load("tune", limit=100)
        assert len(part.inputs) == 100
        np.testing.assert_array_equal(part.inputs[:2], whole.inputs[[0, len(whole.inputs) // 100]])

    def test_the_stream_is_of_test_speakers_and_the_same_every_time(self) -> None:
        stream, test = load("stream"), load("test")
        np.testing.assert_array_equal(stream.inputs, load.__wrapped__("stream").inputs)
        assert stream.inputs.shape == (160, 1, 101, 40)
        assert stream.groups is not None
        assert test.groups is not None
        assert set(stream.groups) <= set(test.groups)
        assert stream.notes is not None
        assert stream.notes[[0, 40, 80, 120]].tolist() == ["noise -80 dB", "noise -20 dB", "noise -80 dB", "noise -20 dB"]
        np.testing.assert_array_equal(load("stream", limit=5).inputs, stream.inputs[:5])

    def test_a_rehearsal_has_the_noise_of_the_stream_and_the_speakers_of_tune(self) -> None:
        rehearsal, tune = load("rehearsal"), load("tune")
        count = len(tune.inputs)
        assert len(rehearsal.inputs) == ROUNDS * count
        for number in range(ROUNDS):
            again = slice(number * count, (number + 1) * count)
            assert sorted(rehearsal.groups[again]) == sorted(tune.groups)  # type: ignore[index, arg-type]
        assert len({clip.tobytes() for clip in rehearsal.inputs}) == len(rehearsal.inputs), "no noise twice"
        assert rehearsal.notes[:160].tolist() == load("stream").notes.tolist()  # type: ignore[index, union-attr]

    def test_the_networks_hear_better_where_the_stream_is_quiet(self) -> None:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(str(DATA / "kws_honk_res8.onnx"))
        stream = load("stream")
        right = session.run(None, {"mfcc": stream.inputs})[0].argmax(1) == stream.labels
        level = np.array([int(note.split()[1]) for note in stream.notes])  # type: ignore[union-attr]
        assert right[level < -50].mean() > 0.87
        assert 0.5 < right[level > -30].mean() < right[level < -50].mean() - 0.05
