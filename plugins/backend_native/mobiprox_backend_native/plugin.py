"""The `native` backend: the runtime of phones, on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobiprox_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from mobiprox_core.interfaces import Device, DeviceReport, Options


class Native:
    """Runs plans with the C runtime that apps embed, built for this machine when it is first needed."""

    name = "native"
    summary = "The C runtime that phones run, on this machine's OpenCL devices"
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
                "description": "instruction set that kernels are compiled for; auto: the best that the CPU has",
            },
        },
        "required": [],
    }

    def devices(self) -> Sequence[DeviceReport]:
        from .host import reports

        return reports()

    def open(self, options: Options) -> Device:
        from .host import open_device

        return open_device(options)


@hookimpl
def mobiprox_backends() -> list[Native]:
    return [Native()]
