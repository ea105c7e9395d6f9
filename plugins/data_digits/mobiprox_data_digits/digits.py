"""The 1,797 handwritten digits of scikit-learn, enlarged from 8 x 8 to 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.datasets import LIMIT, dwelling, limited_index, scattered, swell, taken, unknown_split
from mobiprox_core.interfaces import Options, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIZES = {"train": 800, "tune": 350, "test": 350, "stream": 297}
"""Images of each split; no image is in two."""

STEPS, PERIOD, PEAK = 600, 200, 1.0
"""Of the stream: its length, the steps from quiet to quiet, and the greatest standard deviation of the noise (ink is 1, paper 0)."""


class Digits:
    """Splits `train`, `tune`, `test`: inputs float32[N, 1, 32, 32], paper 0, ink 1; every class alike in each.

    Split `stream`: 600 steps made of the 297 remaining images, each class staying for 6 to 12 steps, under noise that rises and
    falls three times. The source is the test set of the Optical Recognition of Handwritten Digits data (UCI, 1998), which does not say who
    wrote what: where images come under several strengths of noise, `groups` says which image a sample is.
    """

    name = "digits"
    summary = "scikit-learn's 1,797 handwritten digits, 32 x 32 pixels, with a noisy stream"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "limit": LIMIT,
            "noise": {
                "type": "array",
                "items": {"type": "number", "minimum": 0},
                "minItems": 1,
                "default": [0],
                "description": "strengths of noise (standard deviation; ink is 1): every image once under each. Not for the stream",
            },
        },
    }
    splits = tuple(SIZES)

    def load(self, split: str, options: Options, folder: Path) -> Samples:
        import numpy as np
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        if split not in SIZES:
            raise unknown_split(split, self.splits)
        images, labels = load_digits(return_X_y=True)
        index = split_indices(labels)[split]
        inputs = enlarged(images.reshape(-1, 8, 8)[index] / 16)[:, None]
        labels = labels[index].astype(np.int64)
        classes = tuple("0123456789")
        if split == "stream":
            samples = _stream(inputs, labels, classes)
        else:
            samples = _noisy(inputs, labels, classes, options.get("noise", [0]), seed=list(SIZES).index(split))
        return taken(samples, limited_index(len(samples.inputs), options, stream=split == "stream"))


def split_indices(labels: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """Which images each split has, class by class in equal shares.

    The images of a class are spread evenly over the interval 0 to 1, in a random order; a split is a piece of the interval.
    """
    import numpy as np

    order = np.array(scattered([str(i) for i in range(len(labels))], "digits"))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    ends = np.cumsum(list(SIZES.values()))[:-1]
    pieces = np.split(order[np.argsort(place[order], kind="stable")], ends)
    rank = np.argsort(order)  # within a split, back to the random order: else the classes would come round in step
    return {split: piece[np.argsort(rank[piece])] for split, piece in zip(SIZES, pieces, strict=True)}


def enlarged(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Bilinear enlargement with half-pixel centres and a repeated border: float64[N, 8, 8] to float32[N, 32, 32].

    Exact for multiples of 1/16, as every weight is a multiple of 1/8.
    """
    import numpy as np

    centre = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    low = np.minimum(centre.astype(int), 6)
    share = centre - low
    rows = images[:, low] * (1 - share)[:, None] + images[:, low + 1] * share[:, None]
    enlarged: npt.NDArray[np.float32] = (rows[:, :, low] * (1 - share) + rows[:, :, low + 1] * share).astype(np.float32)
    return enlarged


def _noisy(
    inputs: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], classes: tuple[str, ...], strengths: Sequence[float], seed: int
) -> Samples:
    """Every image once under each strength of noise, strengths in turn, so that evenly spaced samples have all of them."""
    import numpy as np

    count, rng = len(strengths), np.random.default_rng(seed)
    strength = np.tile(np.array(strengths, dtype=np.float64), len(inputs))
    noise = rng.standard_normal((len(strength), *inputs.shape[1:])) * strength[:, None, None, None]
    return Samples(
        inputs=(np.repeat(inputs, count, axis=0) + noise).astype(np.float32),
        labels=np.repeat(labels, count),
        groups=np.repeat(np.arange(len(inputs)), count).astype(str) if count > 1 else None,
        classes=classes,
        notes=np.array([f"noise {s:.2f}" for s in strength]) if any(strengths) else None,
    )


def _stream(inputs: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], classes: tuple[str, ...]) -> Samples:
    import numpy as np

    rng = np.random.default_rng(0)
    index = dwelling(labels, STEPS, 6, 12, rng)
    strength = swell(STEPS, PERIOD, PEAK)
    noise = rng.standard_normal((STEPS, *inputs.shape[1:])) * strength[:, None, None, None]
    return Samples(
        inputs=(inputs[index] + noise).astype(np.float32),
        labels=labels[index],
        classes=classes,
        notes=np.array([f"noise {s:.2f}" for s in strength]),
    )
