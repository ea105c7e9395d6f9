from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mobiprox_data_cifar10.cifar10 import Cifar10, normalised

from mobiprox_core.errors import DataError
from mobiprox_core.interfaces import Samples

DATA = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[3] / "../shared/data")).resolve()
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "cifar10_test.npz").is_file(), reason="needs cifar10_test.npz and its like; set MOBIPROX_DATA to their folder"
    ),
]


def load(split: str, **options: int) -> Samples:
    return Cifar10().load(split, {"path": str(DATA), **options}, Path())


def prints(samples: Samples) -> set[bytes]:
    return {image.tobytes() for image in samples.inputs}


def test_black_and_white_are_normalised_by_mean_and_deviation() -> None:
    black_white = np.stack([np.zeros((32, 32, 3)), np.full((32, 32, 3), 255)])
    images = normalised(black_white)
    assert images.shape == (2, 3, 32, 32)
    np.testing.assert_allclose(images[:, :, 5, 5], [[-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64]], atol=1e-4)


@pytest.mark.parametrize("split", ["train", "test", "test_jpeg_a", "train_both", "stream"])
def test_a_missing_file_says_how_to_name_its_folder(tmp_path: Path, split: str) -> None:
    with pytest.raises(DataError, match=r"no file .*cifar10_.*npz") as caught:
        Cifar10().load(split, {"path": "data"}, tmp_path)
    assert caught.value.mend is not None
    assert "`path`" in caught.value.mend


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(DataError, match="test_jpeg_a"):
        load("tune")


class TestWithTheData:
    pytestmark = needs_data

    @pytest.mark.parametrize(
        ("split", "count"),
        [
            ("train", 1000),
            ("train_jpeg", 4500),
            ("train_both", 5500),
            ("test", 500),
            ("test_jpeg_a", 2250),
            ("test_jpeg_b", 2250),
            ("test_both", 2750),
            ("stream", 500),
        ],
    )
    def test_a_split_has_its_images(self, split: str, count: int) -> None:
        samples = load(split)
        assert samples.inputs.shape == (count, 3, 32, 32)
        assert samples.inputs.dtype == np.float32
        assert samples.labels is not None
        assert set(samples.labels) == set(range(10))
        assert samples.classes[3] == "cat"

    def test_the_jpeg_splits_share_no_image_with_each_other_or_with_the_lossless_ones(self) -> None:
        first, second = load("test_jpeg_a"), load("test_jpeg_b")
        assert len(prints(first)) == len(prints(second)) == 2250
        assert not prints(first) & prints(second)
        with np.load(DATA / "cifar10_test.npz") as lossless, np.load(DATA / "cifar10_test_jpeg.npz") as jpeg:
            unseen = ~np.isin(jpeg["index"], lossless["index"])
            assert first.labels is not None
            assert second.labels is not None
            both = np.concatenate([first.labels, second.labels])
            np.testing.assert_array_equal(np.bincount(both), np.bincount(jpeg["y"][unseen]))
        lossless_images = load("test").inputs[::25]
        for image in lossless_images:  # a JPEG copy of the same picture would lie within 30 dB; another picture never does
            assert np.abs(first.inputs - image).mean(axis=(1, 2, 3)).min() > 0.12

    def test_jpeg_copies_of_training_images_are_of_none_that_is_there_lossless(self) -> None:
        copies = load("train_jpeg", limit=450).inputs
        for image in load("train").inputs[::50]:
            assert np.abs(copies - image).mean(axis=(1, 2, 3)).min() > 0.12
        with np.load(DATA / "cifar10_train.npz") as lossless, np.load(DATA / "cifar10_train_jpeg.npz") as jpeg:
            [first] = np.flatnonzero(jpeg["index"] == lossless["index"][0])
            assert jpeg["y"][first] == lossless["y"][0], "the place in the original set tells images apart"

    def test_a_limit_spreads_over_the_split_and_cuts_the_stream(self) -> None:
        np.testing.assert_array_equal(load("test", limit=50).inputs, load("test").inputs[::10])
        np.testing.assert_array_equal(load("test_jpeg_b", limit=225).inputs, load("test_jpeg_b").inputs[::10])
        np.testing.assert_array_equal(load("stream", limit=5).inputs, load("stream").inputs[:5])

    def test_the_stream_is_the_same_every_time_and_quiet_at_its_ends(self) -> None:
        stream = load("stream")
        np.testing.assert_array_equal(stream.inputs, load("stream").inputs)
        assert stream.notes is not None
        assert stream.notes[[0, 125, 250, 375]].tolist() == ["noise 0", "noise 15", "noise 0", "noise 15"]
        assert stream.inputs[0].tobytes() in prints(load("test"))

    def test_the_networks_reach_their_stated_accuracy(self) -> None:
        runtime = pytest.importorskip("onnxruntime")
        samples = load("test")
        for network, accuracy in (("cifar10_resnet20", 0.914), ("alexnet2_cifar10", 0.852)):
            session = runtime.InferenceSession(str(DATA / f"{network}.onnx"))
            [scores] = session.run(None, {session.get_inputs()[0].name: samples.inputs})
            assert (scores.argmax(1) == samples.labels).mean() == pytest.approx(accuracy, abs=0.005)
