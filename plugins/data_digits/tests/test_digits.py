from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from mobiprox_data_digits.digits import Digits, enlarged, split_indices
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits

from mobiprox_core.errors import DataError

HERE = Path()


@pytest.mark.parametrize(("split", "count"), [("train", 800), ("tune", 350), ("test", 350), ("stream", 600)])
def test_a_split_has_its_images_in_range(split: str, count: int) -> None:
    samples = Digits().load(split, {}, HERE)
    assert samples.inputs.shape == (count, 1, 32, 32)
    assert samples.inputs.dtype == np.float32
    assert samples.labels is not None
    assert samples.labels.shape == (count,)
    assert samples.classes == tuple("0123456789")
    if split != "stream":
        assert samples.inputs.min() == 0
        assert samples.inputs.max() == 1


def test_no_image_is_in_two_splits_and_none_is_lost() -> None:
    indices = split_indices(load_digits().target)
    assert sorted(np.concatenate(list(indices.values()))) == list(range(1797))


@pytest.mark.parametrize("split", ["train", "tune", "test", "stream"])
def test_every_class_has_its_share_of_every_split(split: str) -> None:
    labels = load_digits().target
    index = split_indices(labels)[split]
    expected = np.bincount(labels) * len(index) / len(labels)
    assert np.abs(np.bincount(labels[index]) - expected).max() <= 1


def test_images_carry_the_label_of_their_digit() -> None:
    digits = load_digits()
    samples = Digits().load("tune", {}, HERE)
    index = split_indices(digits.target)["tune"]
    np.testing.assert_array_equal(samples.labels, digits.target[index])
    np.testing.assert_array_equal(samples.inputs[7, 0], enlarged(digits.images[index[7]][None] / 16)[0])


def test_enlarging_is_onnx_resize_with_half_pixels() -> None:
    node = onnx.helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel")
    graph = onnx.helper.make_graph(
        [node],
        "resize",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array([1, 1, 4, 4], dtype=np.float32), "scales")],
    )
    image = load_digits().images[5] / 16
    [expected] = ReferenceEvaluator(onnx.helper.make_model(graph)).run(None, {"x": image[None, None].astype(np.float32)})
    np.testing.assert_allclose(enlarged(image[None])[0], expected[0, 0], atol=1e-6)


def test_the_stream_is_the_same_every_time() -> None:
    np.testing.assert_array_equal(Digits().load("stream", {}, HERE).inputs, Digits().load("stream", {}, HERE).inputs)


def test_the_noise_of_the_stream_is_what_its_notes_say() -> None:
    samples = Digits().load("stream", {}, HERE)
    assert samples.notes is not None
    stated = np.array([float(note.removeprefix("noise ")) for note in samples.notes])
    corner = samples.inputs[:, 0, :, :2].reshape(600, -1)  # the left border is paper: what is there is noise
    np.testing.assert_allclose(corner.std(axis=1)[stated > 0.1], stated[stated > 0.1], rtol=0.45)
    assert stated[[0, 100, 200, 300, 400, 500]].tolist() == [0, 1, 0, 1, 0, 1]


def test_the_stream_stays_with_a_class_for_6_to_12_steps() -> None:
    labels = Digits().load("stream", {}, HERE).labels
    assert labels is not None
    runs = np.diff(np.flatnonzero(np.diff(labels, prepend=-1)))
    assert runs.min() >= 6
    assert runs.max() <= 12


def test_a_limit_spreads_over_a_split_and_cuts_a_stream() -> None:
    whole, part = Digits().load("tune", {}, HERE), Digits().load("tune", {"limit": 35}, HERE)
    np.testing.assert_array_equal(part.inputs, whole.inputs[::10])
    np.testing.assert_array_equal(Digits().load("stream", {"limit": 9}, HERE).inputs, Digits().load("stream", {}, HERE).inputs[:9])


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(DataError, match="valid") as caught:
        Digits().load("valid", {}, HERE)
    assert "tune" in str(caught.value)


def test_every_image_comes_once_under_each_strength_of_noise() -> None:
    clean = Digits().load("tune", {}, Path())
    noisy = Digits().load("tune", {"noise": [0, 0.5]}, Path())
    np.testing.assert_array_equal(noisy.inputs[::2], clean.inputs)
    np.testing.assert_array_equal(noisy.labels, np.repeat(clean.labels, 2))
    assert abs(float(np.std(noisy.inputs[1::2] - clean.inputs)) - 0.5) < 0.01
    assert list(noisy.groups[:4]) == ["0", "0", "1", "1"]
    assert list(noisy.notes[:2]) == ["noise 0.00", "noise 0.50"]
    np.testing.assert_array_equal(noisy.inputs, Digits().load("tune", {"noise": [0, 0.5]}, Path()).inputs)
