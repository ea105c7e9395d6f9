"""Finding the OpenCL devices of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mobiprox_core.errors import DeviceError


def pyopencl() -> ModuleType:
    """pyopencl, with PoCL told (before its first import) to offer its one-thread device beside the threaded one."""
    os.environ.setdefault("POCL_DEVICES", "basic pthread")
    os.environ.setdefault("PYOPENCL_COMPILER_OUTPUT", "0")
    try:
        import pyopencl as cl
    except Exception as fault:  # a broken loader raises what it likes
        raise DeviceError(f"pyopencl cannot be imported: {fault}", mend="pip install 'pyopencl[pocl]'") from fault
    return cl


@dataclass(frozen=True, slots=True)
class Found:
    """A device as the runtime reports it; index as `mobiprox devices` counts."""

    index: int
    handle: Any
    name: str
    runtime: str
    driver: str
    is_cpu: bool
    extensions: frozenset[str]
    compute_units: int
    max_alloc_bytes: int


def find() -> list[Found]:
    """Every device of every platform, equal platforms once."""
    cl = pyopencl()
    try:
        platforms = cl.get_platforms()
    except cl.Error as fault:
        raise DeviceError(f"OpenCL finds no platform: {fault}", mend="pip install 'pyopencl[pocl]' brings one for the CPU") from fault
    found: list[Found] = []
    seen: set[tuple[str, str]] = set()
    for platform in platforms:
        try:
            devices = platform.get_devices()
        except cl.Error:
            continue
        for d in devices:
            name, runtime = d.name.strip(), platform.version.partition("  ")[0].strip()
            if (name, runtime) in seen:
                continue
            seen.add((name, runtime))
            cpu = bool(d.type & cl.device_type.CPU)
            extensions = frozenset(d.extensions.split())
            found.append(
                Found(len(found), d, name, runtime, d.driver_version.strip(), cpu, extensions, d.max_compute_units, d.max_mem_alloc_size)
            )
    return found
