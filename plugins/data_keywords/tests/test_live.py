from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from mobiprox_data_keywords.keywords import Keywords
from mobiprox_data_keywords.mfcc import mfcc

from mobiprox_core.errors import DataError


def wav(samples: np.ndarray, rate: int = 16000) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes(samples.astype("<i2").tobytes())
    file.seek(0)
    return file


def test_windows_of_a_second_come_twice_a_second() -> None:
    samples = np.random.default_rng(0).integers(-20000, 20000, 16000 * 3 + 100)
    found = list(Keywords().stream(wav(samples)))
    assert [due for due, _ in found] == [1.0, 1.5, 2.0, 2.5, 3.0]
    for due, window in found:
        end = int(due * 16000)
        np.testing.assert_array_equal(window, mfcc(samples[None, end - 16000 : end] / 32768))
        assert window.shape == (1, 101, 40)


def test_a_recording_shorter_than_a_window_has_none() -> None:
    assert list(Keywords().stream(wav(np.zeros(15999)))) == []


@pytest.mark.parametrize("file", [io.BytesIO(b"no sound at all"), io.BytesIO(), wav(np.zeros(100), 44100)])
def test_another_kind_of_file_is_refused(file: io.BytesIO) -> None:
    with pytest.raises(DataError) as caught:
        list(Keywords().stream(file))
    assert caught.value.mend
