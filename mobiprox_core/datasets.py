"""What data set plugins share: finding and reading files, taking subsets, making streams.

Everything here is deterministic. Choices that a trained network depends on (which image is for training) go through `scattered`,
which no new release of NumPy can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError
from .interfaces import Options, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LIMIT: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "description": "At most this many samples, evenly spaced over the split; of a stream, its first steps.",
}
"""Schema of the option `limit`, which `limited_index` honours."""

PATH: Mapping[str, Any] = {"type": "string", "format": "path", "minLength": 1}
"""Schema of an option that is a file or folder; `located` makes a path of it."""


def located(path: str, folder: Path) -> Path:
    """A path of an experiment file: relative ones are relative to `folder`, `~` is the home folder."""
    return folder / Path(path).expanduser()


def read_arrays(path: Path, names: Sequence[str], mend: str) -> dict[str, npt.NDArray[Any]]:
    """The named arrays of an .npz file, read without pickle.

    Raises DataError, with `mend` where the file is not there, for a file that is missing, damaged or lacks an array.
    """
    import numpy as np

    if not path.is_file():
        raise DataError(f"no file {path}", mend=mend)
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := [name for name in names if name not in archive]:
                raise DataError(f"{path} has no array {', '.join(missing)}", mend=f"it has {', '.join(archive) or 'none'}")
            return {name: archive[name] for name in names}
    except DataError:
        raise
    except Exception as fault:  # a damaged archive raises whatever its first wrong byte leads to
        raise DataError(f"{path} is no readable .npz file: {fault}", mend="fetch or copy it again") from fault


def unknown_split(split: str, splits: Sequence[str]) -> DataError:
    """The error for a split that a data set does not have."""
    return DataError(f"no split is called '{split}'", mend=f"the splits are {', '.join(splits)}")


def scattered(names: Sequence[str], salt: str) -> list[int]:
    """The indices of `names` in an order that looks random and is the same everywhere: by SHA-256 of salt and name."""
    from hashlib import sha256

    return sorted(range(len(names)), key=lambda i: sha256(f"{salt}/{names[i]}".encode()).digest())


def taken(samples: Samples, index: npt.NDArray[np.int64]) -> Samples:
    """The samples at `index`, int64[M], in that order."""
    return Samples(
        inputs=samples.inputs[index],
        labels=None if samples.labels is None else samples.labels[index],
        groups=None if samples.groups is None else samples.groups[index],
        classes=samples.classes,
        notes=None if samples.notes is None else samples.notes[index],
        targets=None if samples.targets is None else samples.targets[index],
    )


def limited_index(count: int, options: Options, stream: bool = False) -> npt.NDArray[np.int64]:
    """Which of `count` samples the option `limit` keeps, int64[M]: evenly spaced ones; of a stream the first, lest its pace change."""
    import numpy as np

    kept = min(options.get("limit", count), count)
    steps: npt.NDArray[np.int64] = np.arange(kept, dtype=np.int64)
    return steps if stream else steps * count // max(kept, 1)


def dwelling(labels: npt.NDArray[np.int64], steps: int, shortest: int, longest: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices into `labels`, int64[steps], of a stream that stays with one class for `shortest` to `longest` steps, then changes.

    Classes take turns in random order, and so do the samples of a class: none comes a second time before all the others came once.
    """
    import numpy as np

    pools = {int(c): rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)}
    used = dict.fromkeys(pools, 0)
    waiting: list[int] = []
    stream: list[int] = []
    label = -1
    while len(stream) < steps:
        if not waiting:
            waiting = [int(c) for c in rng.permutation(list(pools))]
            if waiting[-1] == label:
                waiting.reverse()
        label = waiting.pop()
        for _ in range(int(rng.integers(shortest, longest + 1))):
            stream.append(int(pools[label][used[label] % len(pools[label])]))
            used[label] += 1
    return np.array(stream[:steps], dtype=np.int64)


def swell(steps: int, period: int, peak: float) -> npt.NDArray[np.float64]:
    """A strength that rises from 0 to `peak` and falls again, every `period` steps: float64[steps], a raised cosine."""
    import numpy as np

    strength: npt.NDArray[np.float64] = peak * (1 - np.cos(2 * np.pi * np.arange(steps) / period)) / 2
    return strength
