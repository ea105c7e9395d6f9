"""Finding the OpenCL devices of this machine."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from mobiprox_core.cache import cache_folder
from mobiprox_core.errors import DeviceError
from mobiprox_core.isa import cpu_flags

from .unknown_cpu import name_processor

POCL = "Portable Computing Language"
SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")


def pyopencl() -> ModuleType:
    """pyopencl, with PoCL told (before its first import) to offer its one-thread device beside the threaded one."""
    os.environ.setdefault("POCL_DEVICES", "basic pthread")
    os.environ.setdefault("PYOPENCL_COMPILER_OUTPUT", "0")
    _offer_installed_runtime()
    try:
        import pyopencl as cl
    except Exception as fault:  # a broken loader raises what it likes
        raise DeviceError(f"pyopencl cannot be imported: {fault}", mend="pip install 'pyopencl[pocl]'") from fault
    return cl


def _offer_installed_runtime() -> None:
    """Let the loader find Intel's runtime where pip installed it; the file that should say so names a folder of whoever packed it.

    The loader looks into one folder only, so the system's entries come along.
    """
    library = Path(sys.prefix) / "lib" / "libintelocl.so"
    if "OCL_ICD_VENDORS" in os.environ or not library.exists():
        return
    folder = cache_folder() / "vendors" / sha256(str(library).encode()).hexdigest()[:16]
    wanted = {"mobiprox-intel.icd": f"{library}\n"}
    for entry in sorted(SYSTEM_VENDORS.glob("*.icd")):
        with suppress(OSError, UnicodeDecodeError):
            wanted[entry.name] = entry.read_text()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in wanted.items():
        if not (folder / name).exists() or (folder / name).read_text() != content:
            temporary = folder / f"{name}.{os.getpid()}"
            temporary.write_text(content)
            temporary.replace(folder / name)
    for entry in folder.glob("*.icd"):
        if entry.name not in wanted:
            entry.unlink(missing_ok=True)
    os.environ["OCL_ICD_VENDORS"] = str(folder)


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
    """Every device of every platform, equal platforms once. Those of PoCL get a name of their processor that it can build for."""
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
            if cpu and platform.name == POCL:
                name_processor(d.int_ptr, cpu_flags())
            extensions = frozenset(d.extensions.split())
            found.append(
                Found(len(found), d, name, runtime, d.driver_version.strip(), cpu, extensions, d.max_compute_units, d.max_mem_alloc_size)
            )
    return found
