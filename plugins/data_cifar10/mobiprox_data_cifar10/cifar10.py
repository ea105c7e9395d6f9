"""CIFAR-10: lossless images, JPEG copies of others, and a stream under noise."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.datasets import LIMIT, PATH, dwelling, limited_index, located, read_arrays, scattered, swell, unknown_split
from mobiprox_core.errors import DataError
from mobiprox_core.interfaces import Options, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, of images scaled to 0..1."""

STEPS, PERIOD, PEAK = 500, 250, 15.0
"""Of the stream: its length, the steps from quiet to quiet, and the greatest standard deviation of the noise, in grey levels of 256."""

JPEGS = {"test_jpeg_a": ("test", slice(2250)), "test_jpeg_b": ("test", slice(2250, 4500)), "train_jpeg": ("train", slice(4500))}
"""Part of the data set, and which of its images that are not there lossless, scattered."""

BOTH = {"test_both": ("test", "test_jpeg_b"), "train_both": ("train", "train_jpeg")}

MEND = "set `path` to the folder that has {}; relative paths start from the folder of the experiment file"


class Cifar10:
    """Inputs float32[N, 3, 32, 32], RGB, scaled to 0..1, then normalised by MEAN and DEVIATION; N in brackets:

    - `test` [500] and `train` [1000]: lossless images of the data set's test and training part;
    - `test_jpeg_a`, `test_jpeg_b` [2250 each]: JPEG copies of other test images, none in both. They cost a network ten points, but
      they tune a network that saw the whole training part;
    - `train_jpeg` [4500]: JPEG copies of other training images;
    - `test_both` [2750]: `test`, then `test_jpeg_b`, since 500 images tell a loss to about 1.3 points only; `train_both` [5500]: `train`, then
      `train_jpeg`, so in the same proportion, to fit to;
    - `stream` [500]: the images of `test`, each class staying for 4 to 10 steps, under noise that rises and falls twice.
    """

    name = "cifar10"
    summary = "CIFAR-10 images, normalised, with a noisy stream"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"path": {**PATH, "description": "Folder with cifar10_test.npz and its like."}, "limit": LIMIT},
        "required": ["path"],
    }
    splits: tuple[str, ...] = ("train", "test", *JPEGS, *BOTH, "stream")

    def load(self, split: str, options: Options, folder: Path) -> Samples:
        if split not in self.splits:
            raise unknown_split(split, self.splits)
        path = located(options["path"], folder)
        if split in BOTH:
            return _together([self.load(part, {"path": options["path"]}, folder) for part in BOTH[split]], options)
        if split in ("train", "test"):
            return _lossless(path / f"cifar10_{split}.npz", options)
        if split == "stream":
            return _stream(path / "cifar10_test.npz", options)
        return _jpeg(path, *JPEGS[split], options)


def normalised(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """[N, 32, 32, 3] in grey levels 0..255 to float32[N, 3, 32, 32] as the networks take it."""
    import numpy as np

    scaled = (pixels / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def _lossless(path: Path, options: Options) -> Samples:
    import numpy as np

    arrays = read_arrays(path, ["X", "y", "classes"], MEND.format(path.name))
    index = limited_index(len(arrays["X"]), options)
    return Samples(normalised(arrays["X"][index]), arrays["y"][index].astype(np.int64), classes=tuple(map(str, arrays["classes"])))


def _jpeg(folder: Path, part: str, chosen: slice, options: Options) -> Samples:
    import numpy as np
    from PIL import Image

    path, lossless = folder / f"cifar10_{part}_jpeg.npz", folder / f"cifar10_{part}.npz"
    arrays = read_arrays(path, ["header", "body", "offset", "y", "index", "classes"], MEND.format(path.name))
    known = set(read_arrays(lossless, ["index"], MEND.format(lossless.name))["index"].tolist())
    others = [row for row, place in enumerate(arrays["index"].tolist()) if place not in known]
    rows = np.array([others[i] for i in scattered([str(arrays["index"][row]) for row in others], "cifar10 jpeg")][chosen])
    rows = rows[limited_index(len(rows), options)]
    images = []
    for row in rows:
        first, end = arrays["offset"][row : row + 2]
        data = arrays["header"].tobytes() + arrays["body"][first:end].tobytes() + b"\xff\xd9"
        try:
            images.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        except OSError as fault:
            raise DataError(f"image {row} of {path} is no JPEG: {fault}", mend="fetch or copy the file again") from fault
    return Samples(normalised(np.stack(images)), arrays["y"][rows].astype(np.int64), classes=tuple(map(str, arrays["classes"])))


def _together(parts: Sequence[Samples], options: Options) -> Samples:
    import numpy as np

    inputs, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "labels"))
    index = limited_index(len(inputs), options)
    return Samples(inputs[index], labels[index], classes=parts[0].classes)


def _stream(path: Path, options: Options) -> Samples:
    import numpy as np

    arrays = read_arrays(path, ["X", "y", "classes"], MEND.format(path.name))
    rng = np.random.default_rng(0)
    rows = dwelling(arrays["y"].astype(np.int64), STEPS, 4, 10, rng)
    strength = swell(STEPS, PERIOD, PEAK)
    noise = rng.standard_normal((STEPS, 32, 32, 3)) * strength[:, None, None, None]
    steps = limited_index(STEPS, options, stream=True)
    return Samples(
        inputs=normalised(np.clip(arrays["X"][rows] + noise, 0, 255)[steps]),
        labels=arrays["y"][rows].astype(np.int64)[steps],
        classes=tuple(map(str, arrays["classes"])),
        notes=np.array([f"noise {s:.0f}" for s in strength])[steps],
    )
