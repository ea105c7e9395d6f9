"""Motion as it comes: lines of a table, filtered as `preprocessing.Online` does, an image for every full window."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mobiprox_core.errors import DataError

from .preprocessing import RATE, Online

if TYPE_CHECKING:
    import numpy.typing as npt

COLUMNS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")


def images(source: BinaryIO) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """(seconds at which a window is complete, float32[3, 32, 32]) of a CSV file with the columns COLUMNS, 50 lines a second.

    Acceleration in g, gravity included; angular velocity in rad/s. Other columns do not matter. Raises DataError, naming the line.
    """
    name = str(getattr(source, "name", "the source"))
    table = csv.DictReader(io.TextIOWrapper(source, encoding="utf-8", newline=""))
    if missing := [column for column in COLUMNS if column not in (table.fieldnames or ())]:
        raise DataError(f"has no column {', '.join(missing)}", where=name, mend=f"its first line must name {', '.join(COLUMNS)}")
    online = Online()
    for count, row in enumerate(table, 1):
        try:
            values = np.array([[float(row[column])] for column in COLUMNS])
        except (TypeError, ValueError) as error:
            raise DataError("not six numbers", where=f"{name}:{table.line_num}", mend="write one number per column") from error
        if not np.isfinite(values).all():
            raise DataError("not finite", where=f"{name}:{table.line_num}", mend="leave out lines without measurement")
        for image in online.push(values[:3], values[3:]):
            yield count / RATE, image
