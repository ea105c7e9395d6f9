"""UCI HAR: windows of a phone's motion sensors, as signal images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mobiprox_core.datasets import LIMIT, PATH, limited_index, located, read_arrays, taken, unknown_split
from mobiprox_core.interfaces import Options, Samples

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TUNE, TEST = (2, 10, 18), (4, 24)
"""Subjects of the official test list, which no network was trained on, in two parts."""

RECORDED = {"recordings": TEST, "rehearsal": TUNE}
"""Splits of whole recordings, and whose."""

UNLABELLED = -1
"""Marks a sample of a recording that no segment covers."""

MEND = "set `path` to the folder that has {}; relative paths start from the folder of the experiment file"


class Har:
    """Inputs float32[N, 3, 32, 32], signal images: body acceleration [g], angular velocity [rad/s], total acceleration [g]. Groups: subjects.

    - `train`: windows of the training subjects; `tune` and `test`: of three and of two test subjects. Windows overlap by half and lie
      within one activity.
    - `recordings`: all recordings of the subjects of `test`, one after another in time order, filtered as they come (see
      `preprocessing.Online`), cut into windows that do not overlap. A window belongs to the activity of most of its samples; windows
      with no such activity, or a transition between postures, are left out. Notes say subject and activity, and where it is mixed.
    - `rehearsal`: the same of the subjects of `tune`, for choosing a strategy and its options.
    """

    name = "har"
    summary = "UCI HAR activity windows as signal images, and whole recordings"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"path": {**PATH, "description": "Folder with uci_har.npz and hapt.npz."}, "limit": LIMIT},
        "required": ["path"],
    }
    splits: tuple[str, ...] = ("train", "tune", "test", "recordings", "rehearsal")

    def load(self, split: str, options: Options, folder: Path) -> Samples:
        if split not in self.splits:
            raise unknown_split(split, self.splits)
        path = located(options["path"], folder)
        if split in RECORDED:
            samples = _recordings(path / "hapt.npz", RECORDED[split])
            return taken(samples, limited_index(len(samples.inputs), options, stream=True))
        return _windows(path / "uci_har.npz", split, options)

    def stream(self, source: BinaryIO) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
        """Signal images of a CSV file (acc_x ... gyro_z, 50 lines a second) as they come, one every 2.56 s."""
        from .live import images

        return images(source)


def _windows(path: Path, split: str, options: Options) -> Samples:
    import numpy as np

    from .preprocessing import signal_images

    arrays = read_arrays(path, ["X", "scale", "y", "subject", "is_test", "classes"], MEND.format(path.name))
    chosen = ~arrays["is_test"] if split == "train" else np.isin(arrays["subject"], TUNE if split == "tune" else TEST)
    index = np.flatnonzero(chosen)
    index = index[limited_index(len(index), options)]
    return Samples(
        inputs=signal_images(arrays["X"][index] * arrays["scale"][:, None]),
        labels=arrays["y"][index].astype(np.int64),
        groups=arrays["subject"][index].astype(np.str_),
        classes=tuple(map(str, arrays["classes"])),
    )


def _recordings(path: Path, subjects: tuple[int, ...]) -> Samples:
    import numpy as np

    from .preprocessing import WINDOW, Online

    names = ["acc", "acc_scale", "gyro", "gyro_scale", "offset", "subject", "segments", "classes"]
    arrays = read_arrays(path, names, MEND.format(path.name))
    classes = tuple(map(str, arrays["classes"][:6]))
    images, labels, groups, notes = [], [], [], []
    for recording in np.flatnonzero(np.isin(arrays["subject"], subjects)):
        first, end = arrays["offset"][recording : recording + 2]
        acceleration = arrays["acc"][:, first:end] * arrays["acc_scale"]
        windows = Online().push(acceleration, arrays["gyro"][:, first:end] * arrays["gyro_scale"])
        activities = _activities(arrays["segments"][arrays["segments"][:, 0] == recording], end - first)
        for i, image in enumerate(windows):
            within, counts = np.unique(activities[i * WINDOW : (i + 1) * WINDOW], return_counts=True)
            label, share = int(within[counts.argmax()]), counts.max() / WINDOW
            if share <= 0.5 or label not in range(len(classes)):
                continue
            images.append(image)
            labels.append(label)
            groups.append(str(arrays["subject"][recording]))
            notes.append(f"subject {groups[-1]}: {classes[label]}" + (" (mixed)" if share < 1 else ""))
    return Samples(np.stack(images), np.array(labels, dtype=np.int64), np.array(groups), classes, np.array(notes))


def _activities(segments: npt.NDArray[np.int32], samples: int) -> npt.NDArray[np.int64]:
    """The activity at every sample of a recording, int64[samples]; UNLABELLED where none is labelled."""
    import numpy as np

    activities = np.full(samples, UNLABELLED, dtype=np.int64)
    for _, _, activity, first, end in segments:
        activities[first:end] = activity
    return activities
