"""Speech as it comes: windows of one second, two a second, as MFCC."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mobiprox_core.errors import DataError

from .mfcc import RATE, mfcc

if TYPE_CHECKING:
    import numpy.typing as npt

WINDOW, HOP = RATE, RATE // 2
"""Samples of a window, and from one window to the next."""


def windows(source: BinaryIO) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """(seconds at which a window is complete, float32[1, 101, 40]) of a WAV file: 16 kHz, one channel, 16 bits.

    Samples are read as they are needed. Raises DataError for another kind of file.
    """
    name = str(getattr(source, "name", "the source"))
    try:
        recording: Any = wave.open(source, "rb")  # noqa: SIM115  the caller closes the source
    except (wave.Error, EOFError) as error:
        raise DataError(f"is no WAV file of plain samples: {error}", where=name, mend="record 16 kHz, one channel, 16 bits") from error
    kind = (recording.getframerate(), recording.getnchannels(), recording.getsampwidth())
    if kind != (RATE, 1, 2):
        raise DataError(
            f"has {kind[0]} Hz, {kind[1]} channel(s), {8 * kind[2]} bits", where=name, mend="convert it to 16000 Hz, 1 channel, 16 bits"
        )
    clip = np.zeros(0, np.int16)
    end = 0
    while True:
        wanted = WINDOW - len(clip)
        fresh = np.frombuffer(recording.readframes(wanted), "<i2")
        if len(fresh) < wanted:
            return
        clip = np.concatenate([clip, fresh])
        end += wanted
        yield end / RATE, mfcc(clip[None] / 32768)
        clip = clip[HOP:]
