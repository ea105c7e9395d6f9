"""Mel-frequency cepstral coefficients, as the honk networks take them (their definitions are librosa's)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import dct, rfft  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import numpy.typing as npt

RATE, FRAME, HOP, BANDS = 16000, 480, 160, 40
LOWEST_HZ, HIGHEST_HZ = 20.0, 4000.0


def mfcc(clips: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """float[N, 16000] in -1..1 to float32[N, 101, 40]: frames of 30 ms every 10 ms, all 40 coefficients.

    Periodic Hann window, clips reflected at both ends; natural logarithm of the band's power, zero where there is none; orthonormal DCT-II.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    padded = np.pad(clips.astype(np.float64), ((0, 0), (FRAME // 2, FRAME // 2)), mode="reflect")
    out = np.empty((len(clips), 1 + clips.shape[1] // HOP, BANDS), dtype=np.float32)
    for i, clip in enumerate(padded):  # one clip at a time: the spectra of all would not fit a small machine
        frames = np.lib.stride_tricks.sliding_window_view(clip, FRAME)[::HOP] * window
        power = np.abs(rfft(frames, axis=1)) ** 2 @ mel_bands().T
        logarithm = np.log(power, out=np.zeros_like(power), where=power > 0)
        out[i] = dct(logarithm, type=2, norm="ortho", axis=1)
    return out


@cache
def mel_bands() -> npt.NDArray[np.float64]:
    """float64[40, 241]: overlapping triangles on Slaney's mel scale, each of the same area over its width in Hz."""
    edges = _hertz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FRAME // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    bands: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return bands


_BREAK_HZ, _BREAK_MEL, _STEP = 1000.0, 15.0, np.log(6.4) / 27
"""Slaney's scale is linear, 200/3 Hz a mel, up to 1000 Hz, then logarithmic: 27 mel from there to 6400 Hz."""


def _mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < _BREAK_HZ else float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _STEP)


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < _BREAK_MEL, mel * 200 / 3, _BREAK_HZ * np.exp(_STEP * (mel - _BREAK_MEL)))
