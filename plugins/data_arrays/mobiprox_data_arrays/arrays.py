"""Samples that the user has as NumPy files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.datasets import LIMIT, PATH, limited_index, located, read_arrays, taken
from mobiprox_core.errors import DataError
from mobiprox_core.interfaces import Options, Samples

if TYPE_CHECKING:
    import numpy.typing as npt

_KEY = {"type": "string", "description": "The array to take from an .npz file."}


class Arrays:
    """Reads inputs, labels and groups from .npy files, or by key from .npz files.

    The split is ``all``, or a range of samples, ``0:500`` or ``500:``.
    """

    name = "arrays"
    summary = "your own arrays, from .npy and .npz files"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "inputs": {**PATH, "description": "float32[N, ...] as the network takes them; other numbers are converted."},
            "labels": {**PATH, "description": "Integers [N], 0 is the first class."},
            "groups": {**PATH, "description": "Who or what each sample is from [N]."},
            "targets": {**PATH, "description": "Outputs that a network which does not classify should give [N, ...]."},
            "inputs_key": _KEY,
            "labels_key": _KEY,
            "groups_key": _KEY,
            "targets_key": _KEY,
            "scale": {"type": "number", "description": "What the inputs are multiplied with."},
            "classes": {"type": "array", "items": {"type": "string"}, "description": "Names of the classes, in label order."},
            "limit": LIMIT,
        },
        "required": ["inputs"],
    }
    splits: tuple[str, ...] = ()

    def load(self, split: str, options: Options, folder: Path) -> Samples:
        import numpy as np

        inputs, labels, groups, targets = (self._array(part, options, folder) for part in ("inputs", "labels", "groups", "targets"))
        assert inputs is not None  # required by the schema
        _check(inputs.ndim > 0 and inputs.dtype.kind in "biuf", "inputs", "are not an array of numbers with the samples first")
        for part, array in (("labels", labels), ("groups", groups)):
            if array is not None:
                _check(array.shape == inputs.shape[:1], part, f"have shape {array.shape}, but there are {len(inputs)} inputs: one each")
        inputs = inputs.astype(np.float32) * np.float32(options.get("scale", 1))
        _check(bool(np.isfinite(inputs).all()), "inputs", "hold values that are not finite")
        if targets is not None:
            _check(targets.ndim > 0 and targets.dtype.kind in "biuf", "targets", "are not an array of numbers with the samples first")
            _check(len(targets) == len(inputs), "targets", f"are {len(targets)}, but there are {len(inputs)} inputs: one each")
            targets = targets.astype(np.float32)
            _check(bool(np.isfinite(targets).all()), "targets", "hold values that are not finite")
        classes = tuple(options.get("classes", ()))
        if labels is not None:
            whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and bool((labels == np.round(labels)).all()))
            _check(whole, "labels", "are not whole numbers")
            labels = labels.astype(np.int64)
            _check(not labels.size or labels.min() >= 0, "labels", "are negative")
            _check(not classes or not labels.size or labels.max() < len(classes), "labels", f"go beyond the {len(classes)} classes")
        samples = Samples(inputs, labels, None if groups is None else groups.astype(np.str_), classes, targets=targets)
        rows = np.arange(len(inputs))[_range(split)]
        if not rows.size:
            raise DataError(f"split '{split}' of {len(inputs)} samples is empty", mend="write it as 'first:last', like '0:500', or 'all'")
        return taken(samples, rows[limited_index(len(rows), options)])

    def _array(self, part: str, options: Options, folder: Path) -> npt.NDArray[Any] | None:
        """The array that an option names; None where the option is not given. A key without a file means the file of the inputs."""
        import numpy as np

        key = options.get(f"{part}_key")
        if part not in options and key is None:
            return None
        path = located(options[part] if part in options else options["inputs"], folder)
        mend = f"set `{part}` to an .npy or .npz file; relative paths start from the folder of the experiment file"
        if path.suffix == ".npz":
            if key is None:
                raise DataError(f"{path} holds named arrays", mend=f"say which with `{part}_key`")
            return read_arrays(path, [key], mend)[key]
        if key is not None:
            raise DataError(
                f"{path} is no .npz file, so it has no array '{key}'", mend=f"set `{part}` to an .npz file, or leave out `{part}_key`"
            )
        if not path.is_file():
            raise DataError(f"no file {path}", mend=mend)
        try:
            array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        except Exception as fault:  # a damaged header is parsed as Python, and raises as such
            raise DataError(f"{path} is no readable .npy file: {fault}", mend="write it with numpy.save, without Python objects") from fault
        return array


def _range(split: str) -> slice:
    if split == "all":
        return slice(None)
    if not (found := re.fullmatch(r"(\d*):(\d*)", split)):
        raise DataError(f"'{split}' is no split of arrays", mend="write 'all', or a range of samples like '0:500'")
    first, end = (int(number) if number else None for number in found.groups())
    return slice(first, end)


def _check(sound: bool, part: str, what: str) -> None:
    if not sound:
        raise DataError(f"{part} {what}", mend=f"look at the file of the option `{part}`")
