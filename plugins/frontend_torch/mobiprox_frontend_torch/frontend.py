"""Exporting PyTorch networks to ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.datasets import PATH, located
from mobiprox_core.errors import ExperimentError
from mobiprox_core.interfaces import Options

from . import archive, factory

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


class Torch:
    """Reads exported programs, and modules that a function makes."""

    name = "torch"
    summary = "networks from PyTorch: exported programs, or a factory function and its weights"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "path": {**PATH, "description": "A .pt2 file of torch.export.save."},
            "factory": {
                "type": "string",
                "pattern": r"^\w+(\.\w+)*:\w+$",
                "description": "package.module:function that returns the torch.nn.Module.",
            },
            "arguments": {"type": "object", "description": "Keyword arguments of the factory."},
            "weights": {**PATH, "description": "A .safetensors file, or a state dict as .pt or .pth."},
            "input_shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "description": "Shape of one input, without the batch.",
            },
        },
        "oneOf": [{"required": ["path"]}, {"required": ["factory", "weights", "input_shape"]}],
    }

    def load(self, options: Options, folder: Path) -> ir.Model:
        """The network as ONNX.

        Raises ExperimentError where a file is missing, damaged or would run code, where the factory fails, and where the
        network cannot be exported.
        """
        if ("path" in options) == ("factory" in options):
            raise ExperimentError("a torch network is either a `path` or a `factory`", mend="give one of the two")
        if "path" in options:
            return _exported(archive.load(located(options["path"], folder)), options["path"])
        with factory.importable(folder):
            module = factory.make(options["factory"], options.get("arguments", {}), folder)
            factory.fill(module, located(options["weights"], folder))
            return _exported(_trace(module.eval(), options["input_shape"], options["factory"]), options["factory"])


def _trace(module: torch.nn.Module, input_shape: Sequence[int], origin: str) -> torch.export.ExportedProgram:
    """The module as a program whose batch axis is free."""
    import torch

    example = torch.zeros(2, *input_shape)
    with _quiet():
        try:
            module(example)
        except Exception as fault:
            raise ExperimentError(
                f"the network of {origin} does not take an input of shape {list(input_shape)}: {_first_line(fault)}",
                mend="`input_shape` is the shape of one input, without the batch",
            ) from fault
        try:
            return torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as fault:
            raise ExperimentError(
                f"torch.export cannot export {origin} with a free batch axis: {_first_line(fault)}",
                mend="let the module's code not depend on values or on the batch size; see the documentation of torch.export",
            ) from fault


def _exported(program: torch.export.ExportedProgram, origin: str) -> ir.Model:
    """The program as ONNX; layers are called as their modules are."""
    import torch

    with _quiet():
        try:
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
        except Exception as fault:
            raise ExperimentError(
                f"{origin} cannot be exported to ONNX: {_first_line(fault)}",
                mend="replace the operator that it names, or export the network yourself and use the frontend 'onnx'",
            ) from fault
    assert exported is not None
    model: ir.Model = exported.model
    for node in model.graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if weight is not None and weight.is_initializer() and (weight.name or "").endswith(".weight"):
            node.name = (weight.name or "").removesuffix(".weight")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings from the user, who cannot do anything about them."""
    import logging

    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _first_line(fault: Exception) -> str:
    return next((line.strip() for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
