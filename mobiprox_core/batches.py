"""Samples on their way into networks: batches, what is fitted to and what is held out, and their digest."""

from __future__ import annotations

from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .interfaces import Samples
from .ledger import digest

if TYPE_CHECKING:
    from .graph import Graph
    from .interfaces import Floats
    from .plan import DeviceInfo

BATCH = 32
"""Inputs per run where only the outputs count, unless the device has not the room."""

WIDER = 4
"""So many times more inputs keep a GPU busy."""

ROOM = 0.25
"""Of the largest memory that a device gives, for activations; constants of all settings need the rest."""


def filled(inputs: Floats, batch: int) -> Floats:
    """inputs[n, ...], n <= batch, with the last one repeated up to the batch."""
    return np.concatenate([inputs, np.repeat(inputs[-1:], batch - len(inputs), axis=0)])


def sized(graph: Graph, info: DeviceInfo) -> int:
    """Inputs per run: BATCH, on a GPU more, halved until the activations of all operators (graph: at batch 1) fit in the room there is."""
    elements = sum(prod(graph.shape(op.output)) for op in graph.operators)
    batch = BATCH * (WIDER if info.kind == "gpu" else 1)
    while batch > 1 and 4 * elements * batch > ROOM * info.max_alloc_bytes:
        batch //= 2
    return batch


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
