"""From raw motion sensors to signal images, for whole recordings and as samples come.

The steps are those of the UCI HAR authors: a median of three samples, a third-order Butterworth low-pass at 20 Hz, gravity as a
third-order low-pass at 0.3 Hz of the acceleration; what remains is the acceleration of the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import signal  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import numpy.typing as npt

    Signal = npt.NDArray[np.float64]

RATE = 50.0
"""Samples per second of every sensor."""

WINDOW = 128
"""Samples of a window, 2.56 s."""

AXES = (0, 1, 2, 1, 0, 2, 0, 1)
"""Axis of each of the eight rows that one quarter of a window takes: every axis lies beside every other."""

_NOISE = signal.butter(3, 20, fs=RATE, output="sos")
_GRAVITY = signal.butter(3, 0.3, fs=RATE, output="sos")


def signals(acceleration: Signal, rotation: Signal) -> Signal:
    """A whole recording, filtered forwards and backwards so that nothing is delayed, as the training windows were.

    acceleration [g] and rotation [rad/s]: float64[3, T]. Returns float64[9, T]: body acceleration, rotation, total acceleration.
    """
    total, turning = (signal.sosfiltfilt(_NOISE, _median(_bordered(raw))) for raw in (acceleration, rotation))
    return np.concatenate([total - signal.sosfiltfilt(_GRAVITY, total), turning, total])


def signal_images(windows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """[N, 9, 128] windows to float32[N, 3, 32, 32]: three sensors, four quarters of eight rows each (AXES), 32 samples a row."""
    parts = windows.astype(np.float32).reshape(-1, 3, 3, 4, 32)[:, :, AXES]
    return np.ascontiguousarray(parts.transpose(0, 1, 3, 2, 4).reshape(-1, 3, 32, 32))


class Online:
    """The same steps on samples as they come: filters that look back only, their state carried on.

    However a recording is cut into pieces, the images are the same. Filters start as if the first sample had stood for ever.
    """

    def __init__(self) -> None:
        self._raw: Signal = np.empty((6, 0))
        self._states: tuple[Signal, Signal] | None = None
        self._waiting: Signal = np.empty((9, 0))

    def push(self, acceleration: Signal, rotation: Signal) -> npt.NDArray[np.float32]:
        """float64[3, T] each, T of any size; returns the images of the windows that are now full, float32[N, 3, 32, 32].

        The median needs the sample after, so a window comes with the first sample of the next.
        """
        raw = np.concatenate([acceleration, rotation])
        if not raw.size:
            return signal_images(np.empty((0, 9, WINDOW)))
        self._raw = np.concatenate([self._raw if self._raw.size else raw[:, :1], raw], axis=1)
        if self._raw.shape[1] > 2:
            self._waiting = np.concatenate([self._waiting, self._filtered(_median(self._raw))], axis=1)
            self._raw = self._raw[:, -2:]
        full = self._waiting.shape[1] // WINDOW
        ready, self._waiting = self._waiting[:, : full * WINDOW], self._waiting[:, full * WINDOW :]
        return signal_images(ready.reshape(9, full, WINDOW).swapaxes(0, 1))

    def _filtered(self, samples: Signal) -> Signal:
        """Smooth float64[6, T] into the nine signals of T samples."""
        if self._states is None:
            first = samples[:, 0]
            self._states = _steady(_NOISE, first), _steady(_GRAVITY, first[:3])
        smooth, noise = signal.sosfilt(_NOISE, samples, zi=self._states[0])
        gravity, slow = signal.sosfilt(_GRAVITY, smooth[:3], zi=self._states[1])
        self._states = noise, slow
        return np.concatenate([smooth[:3] - gravity, smooth[3:], smooth[:3]])


def _bordered(raw: Signal) -> Signal:
    return np.pad(raw, ((0, 0), (1, 1)), mode="edge")


def _median(raw: Signal) -> Signal:
    """Medians of three neighbours: [C, T + 2] to [C, T]."""
    return np.median(np.stack([raw[:, :-2], raw[:, 1:-1], raw[:, 2:]]), axis=0)


def _steady(sections: Signal, value: Signal) -> Signal:
    """The state of a filter that has seen `value`, float64[C], for ever: float64[sections, C, 2]."""
    state: Signal = signal.sosfilt_zi(sections)[:, None, :] * value[:, None]
    return state
