"""Spoken keywords: one-second clips as MFCC, and a stream under noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mobiprox_core.datasets import LIMIT, PATH, limited_index, located, read_arrays, scattered, swell, unknown_split
from mobiprox_core.interfaces import Options, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

STEPS, PERIOD = 160, 80
"""Of the stream: its utterances, and how many it takes from quiet to quiet."""

ROUNDS = 8
"""Of a rehearsal: how often every clip comes, each time in another order and under another noise."""

QUIET_DB, LOUD_DB = -80.0, -20.0
"""Power of the noise in the stream, against full scale."""

FURTHEST = 1600
"""Samples by which a copy of a clip is moved at most, 100 ms; and how much of recorded background is mixed in, at most. As the networks were trained."""
LOUDEST = 0.1

COPIES = {"tune_a": 1, "tune_b": 3}
"""Moved copies of every clip, beside itself: what is fitted gains by more than what is judged."""

MEND = "set `path` to the folder that has {}; relative paths start from the folder of the experiment file"


class Keywords:
    """Inputs float32[N, 1, 101, 40], MFCC by time and coefficient. Groups: speakers; a silence clip is a group of its own.

    - `tune`, `test`: about half of the clips each; no speaker is in both.
    - `tune_a`, `tune_b`: about half of the clips of `tune` each, no speaker in both; each followed by copies, moved in time and under
      recorded background, one in `tune_a` and three in `tune_b`. The first is to judge by, the second to fit to.
    - `stream`: 160 clips of `test`, mixed with noise (half white, half recorded background) whose level rises and falls twice; the
      notes give it in dB against full scale.
    - `rehearsal`: all clips of `tune` under such noise, eight times in different orders, for choosing a strategy and its options.
    """

    name = "keywords"
    summary = "spoken keywords (Speech Commands) as MFCC, with a noisy stream"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"path": {**PATH, "description": "Folder with speech_commands.npz."}, "limit": LIMIT},
        "required": ["path"],
    }
    splits: tuple[str, ...] = ("tune", "test", "tune_a", "tune_b", "stream", "rehearsal")

    def load(self, split: str, options: Options, folder: Path) -> Samples:
        import numpy as np

        from .mfcc import mfcc

        if split not in self.splits:
            raise unknown_split(split, self.splits)
        path = located(options["path"], folder) / "speech_commands.npz"
        arrays = read_arrays(path, ["hi", "lo", "y", "classes", "speaker", "name"], MEND.format(path.name))
        groups = np.where(arrays["speaker"] == "", arrays["name"], arrays["speaker"])
        silent = arrays["speaker"] == ""
        tune = tuning_rows(groups, silent)
        rows = np.flatnonzero(~tune if split in ("test", "stream") else tune)
        if split in ("stream", "rehearsal"):
            steps, rounds = (STEPS, 1) if split == "stream" else (len(rows), ROUNDS)
            parts = [_noisy(arrays, rows, steps, np.random.default_rng(number)) for number in range(rounds)]
            inputs, rows, notes = (np.concatenate(part) for part in zip(*parts, strict=True))
            index = limited_index(len(rows), options, stream=True)
            inputs, rows, notes = inputs[index], rows[index], notes[index]
        elif split in COPIES:
            first = tuning_rows(groups[rows], silent[rows], "keywords tune")
            rows = rows[first if split == "tune_a" else ~first]
            clips, rng = pcm(arrays, rows) / 32768, np.random.default_rng(0)
            copies = [_moved(clips, clips[silent[rows]], rng) for _ in range(COPIES[split])]
            clips = np.stack([clips, *copies], axis=1).reshape(-1, clips.shape[1])
            rows, notes = np.repeat(rows, 1 + COPIES[split]), None
            index = limited_index(len(rows), options)
            inputs, rows = mfcc(clips[index]), rows[index]
        else:
            rows = rows[limited_index(len(rows), options)]
            inputs, notes = mfcc(pcm(arrays, rows) / 32768), None
        classes = tuple(str(name).strip("_") for name in arrays["classes"])
        return Samples(inputs[:, None], arrays["y"][rows].astype(np.int64), groups[rows], classes, notes)

    def stream(self, source: BinaryIO) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
        """Windows of a WAV file (16 kHz, one channel, 16 bits) as they come: one second each, two a second."""
        from .live import windows

        return windows(source)


def pcm(arrays: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """The clips of some rows, int16[N, 16000], from their zigzag-coded differences in two byte planes."""
    import numpy as np

    code = ((arrays["hi"][rows].astype(np.uint16) << 8) | arrays["lo"][rows]).astype(np.int32)
    return np.cumsum((code >> 1) ^ -(code & 1), axis=1).astype(np.int16)


def tuning_rows(groups: npt.NDArray[np.str_], silent: npt.NDArray[np.bool_], salt: str = "keywords") -> npt.NDArray[np.bool_]:
    """Which clips tune, bool[N]: those of groups that come first in random order, until half of the clips; words and silence apart.

    Another salt halves them otherwise.
    """
    import numpy as np

    tune = np.zeros(len(groups), dtype=bool)
    for part in (silent, ~silent):
        names, counts = np.unique(groups[part], return_counts=True)
        order = scattered(names.tolist(), salt)
        before = np.cumsum(counts[order]) - counts[order]
        tune |= part & np.isin(groups, names[order][before < counts.sum() / 2])
    return tune


def _moved(clips: npt.NDArray[np.float64], background: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The clips, float64[N, 16000], a little earlier or later, each with some of one clip of background."""
    import numpy as np

    padded = np.pad(clips, ((0, 0), (FURTHEST, FURTHEST)))
    start = rng.integers(0, 2 * FURTHEST + 1, len(clips))
    moved = np.stack([clip[at : at + clips.shape[1]] for clip, at in zip(padded, start, strict=True)])
    loud = rng.uniform(0, LOUDEST, (len(clips), 1))
    return np.clip(moved + loud * background[rng.integers(0, len(background), len(clips))], -1, 1)


def _noisy(
    arrays: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64], steps: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """The coefficients of a stream, float32[steps, 101, 40], the rows of its clips, and notes."""
    import numpy as np

    from .mfcc import mfcc

    silence = rows[arrays["y"][rows] == 0]
    rows = rng.permutation(rows)[:steps]
    level = QUIET_DB + swell(len(rows), PERIOD, LOUD_DB - QUIET_DB)
    white = rng.standard_normal((len(rows), 16000))
    recorded = pcm(arrays, rng.choice(silence, len(rows))).astype(np.float64)
    noise = sum(part / np.sqrt((part**2).mean(axis=1, keepdims=True) + 1e-9) for part in (white, recorded))
    clips = pcm(arrays, rows) / 32768 + noise * np.sqrt(10 ** (level[:, None] / 10) / 2)
    return mfcc(np.clip(clips, -1, 1)), rows, np.array([f"noise {decibel:.0f} dB" for decibel in level])
