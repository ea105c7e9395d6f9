"""The `opencl` backend: what it offers, and its options in an experiment file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import Device, DeviceReport, Options


class OpenCL:
    """Any OpenCL device of this machine; the default is PoCL on the CPU."""

    name = "opencl"
    summary = "OpenCL devices of this machine; PoCL on the CPU by default"
    preferred = True
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "device": {
                "type": ["string", "integer"],
                "default": "auto",
                "description": "auto, an index of `mobiprox devices`, or a part of a device's name",
            },
            "threads": {"type": "integer", "minimum": 1, "description": "CPU threads of one inference; default: all"},
            "isa": {
                "enum": ["auto", "generic", "avx2", "avx512"],
                "default": "auto",
                "description": "instruction set that kernels are compiled for; auto: the best that works",
            },
            "launch": {
                "enum": ["auto", "network", "operators"],
                "default": "auto",
                "description": "one launch per inference (CPUs), or one per operator; auto: by kind of device",
            },
        },
        "required": [],
    }

    def devices(self) -> Sequence[DeviceReport]:
        from .devices import reports

        return reports()

    def open(self, options: Options) -> Device:
        from .devices import open_device

        return open_device(options)


@hookimpl
def mobiprox_backends() -> list[OpenCL]:
    return [OpenCL()]
