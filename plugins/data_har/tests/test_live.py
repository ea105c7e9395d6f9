from __future__ import annotations

import io

import numpy as np
import pytest
from mobiprox_data_har.har import Har
from mobiprox_data_har.preprocessing import Online

from mobiprox_core.errors import DataError

HEAD = "time,gyro_x,gyro_y,gyro_z,acc_x,acc_y,acc_z"


def table(rows: np.ndarray) -> io.BytesIO:
    return io.BytesIO("\n".join([HEAD, *(f"{i}," + ",".join(map(repr, row.tolist())) for i, row in enumerate(rows))]).encode())


def test_the_images_are_those_of_the_whole_recording() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 6))
    found = list(Har().stream(table(rows)))
    np.testing.assert_allclose([image for _, image in found], Online().push(rows.T[3:], rows.T[:3]), atol=1e-6)
    assert [due for due, _ in found] == [129 / 50, 257 / 50]  # the median needs one sample more


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no column"),
        ("acc_x,acc_y,acc_z,gyro_x,gyro_y\n1,2,3,4,5", "gyro_z"),
        (HEAD + "\n0,1,2,3,4,5,six", ":2"),
        (HEAD + "\n0,1,2,3,4,5,6\n0,1,2", ":3"),
        (HEAD + "\n0,1,2,3,4,5,nan", "finite"),
    ],
)
def test_a_table_of_another_kind_is_refused(content: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        list(Har().stream(io.BytesIO(content.encode())))
    assert words in str(caught.value)
