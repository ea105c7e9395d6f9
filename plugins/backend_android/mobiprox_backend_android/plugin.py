"""The `android` backend: what it offers, and its options in an experiment file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobiprox_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from mobiprox_core.interfaces import Device, DeviceReport, Options


class Android:
    """Runs plans on phones: the native runtime is pushed over adb, and everything is measured there."""

    name = "android"
    summary = "Phones over adb: everything is run and measured on the phone itself"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "serial": {
                "type": ["string", "array"],
                "items": {"type": "string"},
                "minItems": 1,
                "description": "a phone as 'adb devices' names it, or several of one kind that share the work; default: the only one",
            },
            "remote_dir": {
                "type": "string",
                "default": "/data/local/tmp/mobiprox",
                "description": "folder on the phone to work in; nothing outside is touched, and what was put there is removed",
            },
            "power": {
                "enum": ["any", "battery", "charger"],
                "default": "any",
                "description": "how the phone must be powered while it is measured",
            },
            "device": {
                "type": ["string", "integer"],
                "default": "gpu",
                "description": "OpenCL device of the phone: gpu, cpu, or a part of its name; or the index of a phone in `mobiprox devices`",
            },
            "threads": {"type": "integer", "minimum": 1, "description": "CPU threads of one inference; default: all"},
            "isa": {
                "enum": ["auto", "generic", "avx2", "avx512"],
                "default": "auto",
                "description": "instruction set that kernels are compiled for; auto: the best that the CPU has",
            },
            "runner": {
                "type": "string",
                "format": "path",
                "description": "a prebuilt mbx-run for the phone; default: built with the NDK that ANDROID_NDK_HOME or ANDROID_HOME name",
            },
            "library": {"type": "string", "description": "the phone's OpenCL library; default: looked for where vendors put it"},
            "wait_s": {"type": "number", "minimum": 0, "default": 120, "description": "seconds to wait for a phone that went away"},
            "max_temperature_c": {
                "type": "number",
                "default": 42,
                "description": "warmer than this, the phone cools down before it is measured",
            },
            "cool_down_s": {"type": "number", "minimum": 0, "default": 60, "description": "seconds to let it cool down at most, each time"},
            "keep": {"type": "boolean", "default": False, "description": "leave the runtime and data on the phone for the next run"},
        },
        "required": [],
    }

    def devices(self) -> Sequence[DeviceReport]:
        from .opening import reports

        return reports()

    def open(self, options: Options) -> Device:
        from .opening import open_device

        return open_device(options)


@hookimpl
def mobiprox_backends() -> list[Android]:
    return [Android()]
