"""Reading .pt2 files without running what is in them.

A .pt2 file is a zip of JSON and raw tensors, but torch also accepts pickles, compiled libraries and expressions to evaluate in it. Here
it is looked through first, and refused where it holds any of these.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import ExperimentError

if TYPE_CHECKING:
    import torch

_OPERATORS = re.compile(r"torch\.ops\.(aten|prims|higher_order)\.[\w.]+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_EXPRESSION = re.compile(r"[\w\s'.,+\-*/%()<>=!&|~\[\]]*")
_CALL = re.compile(r"([\w.]+)\s*\(")
_HARMLESS_CALL = re.compile(r"[A-Z]\w*|.*\.size|not|and|or")


def load(path: Path) -> torch.export.ExportedProgram:
    """The exported program of a .pt2 file.

    Raises ExperimentError where it is missing, damaged, of an old format, or would run code.
    """
    import torch

    if not path.is_file():
        raise ExperimentError(f"no file {path}", mend="`path` names a .pt2 file; relative paths start from the experiment file")
    content = path.read_bytes()
    try:
        danger = next(_dangers(content), None)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as fault:
        raise ExperimentError(
            f"{path} is damaged, or no exported program: {fault}",
            mend="save it with torch.export.save(program, path) of torch 2.8 or later",
        ) from fault
    if danger:
        raise ExperimentError(
            f"{path} is refused: {danger}",
            mend="export the module again with torch.export.save, or use `factory` with a file of weights",
        )
    try:
        return torch.export.load(io.BytesIO(content))
    except Exception as fault:
        raise ExperimentError(f"torch cannot load {path}: {fault}", mend=f"save it again with torch {torch.__version__}") from fault


def _dangers(content: bytes) -> Iterator[str]:
    """What in an archive could run code when it is loaded or exported."""
    import torch

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if len(names) != len(archive.namelist()):
            yield "it holds two files of one name"
        if not any(name.startswith("models/") for name in names):
            raise ValueError("there is no model in it")
        for name, full in names.items():
            if name.startswith("data/aotinductor/"):
                yield f"it holds compiled code ({name})"
            elif re.fullmatch(r"data/(weights|constants)/.*\.pt|data/constants/(custom|opaque)_obj.*", name):
                yield f"it holds pickled objects ({name})"
            elif name.startswith("data/sample_inputs/") and (sample := archive.read(full)):
                try:
                    torch.load(io.BytesIO(sample), weights_only=True)
                except Exception:  # whatever it was: torch would now try again, and run code
                    yield f"it holds pickled objects ({name})"
            elif name.endswith(".json"):
                yield from _dangers_of_json(json.loads(archive.read(full)), name)


def _dangers_of_json(value: Any, where: str, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from _dangers_of_json(item, where, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _dangers_of_json(item, where, key)
    elif key == "use_pickle" and value:
        yield f"it holds pickled objects ({where})"
    elif key == "target" and isinstance(value, str) and not _OPERATORS.fullmatch(value):
        yield f"it calls '{value}', which is none of PyTorch's own operators"
    elif key in ("expr_str", "guards_code") and isinstance(value, str) and not _harmless(value):
        yield f"it holds an expression that is no plain arithmetic: {value[:80]}"


def _harmless(expression: str) -> bool:
    """Arithmetic on names and sizes; torch evaluates it as Python."""
    return (
        _EXPRESSION.fullmatch(expression) is not None
        and "__" not in expression
        and all(_HARMLESS_CALL.fullmatch(call) for call in _CALL.findall(expression))
    )
