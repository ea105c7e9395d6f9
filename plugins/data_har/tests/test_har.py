from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mobiprox_data_har.har import Har
from mobiprox_data_har.preprocessing import Online, signal_images, signals

from mobiprox_core.errors import DataError
from mobiprox_core.interfaces import Samples

DATA = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[3] / "../shared/data")).resolve()
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "uci_har.npz").is_file(), reason="needs uci_har.npz and hapt.npz; set MOBIPROX_DATA to their folder"),
]


def load(split: str, **options: int) -> Samples:
    return Har().load(split, {"path": str(DATA), **options}, Path())


def tone(hertz: float, seconds: float = 40) -> np.ndarray:
    return np.tile(np.sin(2 * np.pi * hertz * np.arange(int(50 * seconds)) / 50), (3, 1))


def test_a_signal_image_holds_each_quarter_in_eight_rows() -> None:
    window = np.arange(9 * 128).reshape(1, 9, 128)
    image = signal_images(window)[0]
    for channel in range(3):
        for row in range(32):
            axis = "xyzyxzxy"[row % 8]
            start = 128 * (3 * channel + "xyz".index(axis)) + 32 * (row // 8)
            assert image[channel, row].tolist() == list(range(start, start + 32))


def test_a_phone_at_rest_feels_gravity_only() -> None:
    rest = np.tile([[0.0], [0.6], [0.8]], 500)
    result = signals(rest, np.zeros((3, 500)))
    np.testing.assert_allclose(result[:6], 0, atol=1e-9)
    np.testing.assert_allclose(result[6:], rest, atol=1e-9)
    [image] = Online().push(rest[:, :129], np.zeros((3, 129)))
    np.testing.assert_allclose(image, signal_images(result[None, :, :128])[0], atol=1e-6)


@pytest.mark.parametrize(("hertz", "body", "total"), [(0.02, 0, 1), (2, 1, 1), (24.5, 0, 0)])
def test_movement_is_split_from_gravity_and_hiss(hertz: float, body: float, total: float) -> None:
    result = signals(tone(hertz), tone(hertz))[:, 500:-500]
    strength = result.std(axis=1) / tone(hertz)[0, 500:-500].std()
    np.testing.assert_allclose(strength.reshape(3, 3).mean(axis=1), [body, total, total], atol=0.06)


def test_a_single_spike_is_removed() -> None:
    spike = np.zeros((3, 400))
    spike[:, 200] = 5
    assert np.abs(signals(spike, spike)).max() < 1e-9


def test_online_images_do_not_depend_on_how_the_samples_come() -> None:
    rng = np.random.default_rng(0)
    acceleration, rotation = rng.normal(size=(2, 3, 700))
    whole = Online().push(acceleration, rotation)
    assert whole.shape == (5, 3, 32, 32)
    for cuts in ([1, 2, 3, 400], [128, 256, 384], list(range(1, 700)), [0, 0, 699]):
        online = Online()
        pieces = [online.push(a, r) for a, r in zip(np.split(acceleration, cuts, 1), np.split(rotation, cuts, 1), strict=True)]
        np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-6)


def test_online_filters_never_look_further_ahead_than_one_sample() -> None:
    rng = np.random.default_rng(0)
    acceleration, rotation = rng.normal(size=(2, 3, 400))
    before = Online().push(acceleration, rotation)[0]
    acceleration[:, 129:] += 100
    np.testing.assert_array_equal(Online().push(acceleration, rotation)[0], before)


@pytest.mark.parametrize(("split", "file"), [("tune", "uci_har.npz"), ("recordings", "hapt.npz")])
def test_a_missing_file_says_how_to_name_its_folder(tmp_path: Path, split: str, file: str) -> None:
    with pytest.raises(DataError, match=file) as caught:
        Har().load(split, {"path": "data"}, tmp_path)
    assert caught.value.mend is not None
    assert "`path`" in caught.value.mend


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(DataError, match="recordings"):
        load("valid")


class TestWithTheData:
    pytestmark = needs_data

    def test_windows_and_images_are_those_of_the_check_file(self) -> None:
        with np.load(DATA / "uci_har.npz") as har, np.load(DATA / "har_check.npz") as check:
            np.testing.assert_array_equal(signal_images(check["signal"]), check["image"])
            for split in ("train", "tune", "test"):
                chosen = ~har["is_test"] if split == "train" else np.isin(har["subject"], (2, 10, 18) if split == "tune" else (4, 24))
                rows = np.flatnonzero(chosen).tolist()
                samples = load(split)
                for window, image in zip(check["window"].tolist(), check["image"], strict=True):
                    if window in rows:
                        np.testing.assert_allclose(samples.inputs[rows.index(window)], image, atol=1e-6)

    def test_no_subject_is_in_two_splits(self) -> None:
        groups = [set(load(split).groups.tolist()) for split in ("train", "tune", "test")]  # type: ignore[union-attr]
        assert [len(g) for g in groups] == [21, 3, 2]
        assert len(set.union(*groups)) == 26
        for split, own in (("recordings", groups[2]), ("rehearsal", groups[1])):
            assert set(load(split).groups.tolist()) == own  # type: ignore[union-attr]

    def test_filtered_recordings_are_the_published_windows(self) -> None:
        with np.load(DATA / "uci_har.npz") as har, np.load(DATA / "hapt.npz") as raw:
            first, end = raw["offset"][:2]
            acceleration, rotation = raw["acc"][:, first:end] * raw["acc_scale"], raw["gyro"][:, first:end] * raw["gyro_scale"]
            result = signals(acceleration, rotation)
            rows = np.flatnonzero(har["exp"] == raw["exp"][0])
            windows = np.stack([result[:, start : start + 128] for start in har["start"][rows]])
            error = np.abs(windows - har["X"][rows] * har["scale"][:, None]).max(axis=(0, 2))
            assert (error <= har["scale"]).all()  # half a step of rounding; the rest is how the first sample of a recording is smoothed

    def test_recordings_run_through_the_activities_in_order(self) -> None:
        trace = load("recordings")
        assert trace.labels is not None
        assert trace.groups is not None
        assert trace.notes is not None
        assert set(trace.labels) == set(range(6))
        assert np.count_nonzero(np.diff(trace.groups.astype(int))) == 1
        assert np.count_nonzero(np.diff(trace.labels)) < len(trace.labels) / 3
        assert trace.notes[0].startswith(f"subject {trace.groups[0]}: {trace.classes[trace.labels[0]]}")
        np.testing.assert_array_equal(load("recordings", limit=7).inputs, trace.inputs[:7])

    def test_a_limit_spreads_over_the_split(self) -> None:
        whole, part = load("tune"), load("tune", limit=len(load("tune").inputs) // 2)
        np.testing.assert_array_equal(part.inputs, whole.inputs[::2][: len(part.inputs)])

    def test_the_network_recognises_windows_and_recordings(self) -> None:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(str(DATA / "mobilenet_uci-har.onnx"))
        with np.load(DATA / "har_check.npz") as check:
            np.testing.assert_allclose(session.run(None, {"input": check["image"]})[0], check["logits"], atol=1e-3)
        for split, least in (("test", 0.94), ("recordings", 0.9)):
            samples = load(split)
            assert (session.run(None, {"input": samples.inputs})[0].argmax(1) == samples.labels).mean() > least
