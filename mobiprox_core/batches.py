"""Samples on their way into networks: batches, what is fitted to and what is held out, and their digest."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .interfaces import Samples
from .ledger import digest

if TYPE_CHECKING:
    from .interfaces import Floats

BATCH = 32
"""Inputs per run where only the outputs count."""


def filled(inputs: Floats, batch: int) -> Floats:
    """inputs[n, ...], n <= batch, with the last one repeated up to the batch."""
    return np.concatenate([inputs, np.repeat(inputs[-1:], batch - len(inputs), axis=0)])


def parted(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of inputs to fit to, and of every fifth, held out to compare what was fitted. Of less than five, all are both."""
    every = np.arange(count)
    held = every % 5 == 4
    return (every[~held], every[held]) if held.any() else (every, every)


def digest_of_samples(samples: Samples) -> str:
    """SHA-256 of inputs, labels, groups and targets."""
    return digest(
        [
            None if array is None else [str(array.dtype), list(array.shape), sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]
            for array in (samples.inputs, samples.labels, samples.groups, samples.targets)
        ]
    )
