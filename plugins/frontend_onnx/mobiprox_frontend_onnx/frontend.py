"""Reading ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mobiprox_core.datasets import PATH, located
from mobiprox_core.errors import ExperimentError
from mobiprox_core.interfaces import Options

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_AGAIN = "export the network again, or copy the file once more"


class Onnx:
    """Reads ONNX files, with or without external data."""

    name = "onnx"
    summary = "networks from ONNX files"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"path": {**PATH, "description": "The .onnx file."}},
        "required": ["path"],
    }

    def load(self, options: Options, folder: Path) -> ir.Model:
        """The network of the file `path`, its external data mapped into memory.

        Raises ExperimentError where a file is missing or damaged, or not ONNX.
        """
        return read_onnx(located(options["path"], folder))


def read_onnx(path: Path) -> ir.Model:
    """The checked network of an ONNX file. Raises ExperimentError."""
    import onnx
    import onnx_ir as ir
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_file():
        raise ExperimentError(f"no file {path}", mend="`path` names an .onnx file; relative paths start from the experiment file")
    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as fault:
        raise ExperimentError(f"{path} is damaged, or no ONNX file: {fault}", mend=_AGAIN) from fault
    if not proto.ir_version or not proto.graph.output:
        raise ExperimentError(f"{path} is no ONNX model: it has no outputs", mend=_AGAIN)
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(tensor, path)
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, ValueError) as fault:
        raise ExperimentError(f"{path} is no valid ONNX model: {_first_line(fault)}", mend=_AGAIN) from fault
    return ir.load(path)


def _check_external(tensor: onnx.TensorProto, path: Path) -> None:
    """A model may read files beside it, nothing else."""
    entry = {pair.key: pair.value for pair in tensor.external_data}
    place = PurePosixPath(entry.get("location", ""))
    if not place.parts or place.is_absolute() or ".." in place.parts:
        raise ExperimentError(
            f"{path}: the weights of {tensor.name} lie outside its folder ({place})", mend="save the model again, weights beside it"
        )
    file = path.parent / place
    if not file.is_file():
        raise ExperimentError(f"{path}: its weights are missing, no file {file}", mend="copy the external data file beside the model")
    if int(entry.get("offset", 0)) + int(entry.get("length", 0)) > file.stat().st_size:
        raise ExperimentError(f"{file} is too short: it ends before the weights of {tensor.name}", mend=_AGAIN)


def _first_line(fault: Exception) -> str:
    return next((line.strip() for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
