"""Compiled programs, kept on disk between starts.

An entry is one file, written whole under another name and then renamed, so any number of processes may share the folder. It carries
the digest of what it holds: a damaged or foreign file is as good as none, and is written anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobiprox_core.cache import cache_folder
from mobiprox_core.errors import DeviceError

if TYPE_CHECKING:
    from mobiprox_core.plan import ExecutionPlan

    from .runner import OpenCLDevice

MAGIC = b"mobiprox program 1\n"
MOST_BYTES = 1 << 29
"""Of all entries; beyond it the oldest go."""


@dataclass(slots=True)
class Programs:
    """Where the programs of a device came from: how many were compiled, how long that took, and how many were cached, compiled when."""

    compiled: int = 0
    seconds: float = 0.0
    cached: int = 0
    since: float = 0.0

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        fresh, kept = f"compiled in {self.seconds:.2f} s", "from the cache"
        if self.compiled + self.cached == 1:
            return f"program {fresh}" if self.compiled else f"program {kept} (built {when})"
        parts = [f"{n} {how}" for n, how in ((self.compiled, fresh), (self.cached, f"{kept} (latest built {when})")) if n]
        return f"programs: {', '.join(parts)}" if parts else ""


class CachedProgram:
    """The program of a plan on a device. `keep` it once it has run: some runtimes finish compiling at the first launch."""

    def __init__(self, device: OpenCLDevice, plan: ExecutionPlan) -> None:
        self._device = device
        self._path = cache_folder() / "programs" / f"{_key(device, plan)}.bin"
        self._begin = time.perf_counter()
        handle = self._load()
        self.cached = handle is not None
        self.handle = _compile(device, plan) if handle is None else handle

    def keep(self) -> None:
        """Count it, and write it to the cache unless it came from there. A cache that cannot be written is no fault."""
        if self.cached:
            self._device.programs.cached += 1
            with suppress(OSError):  # somebody else may clean up
                self._device.programs.since = max(self._device.programs.since, self._path.stat().st_mtime)
            return
        self._device.programs.compiled += 1
        self._device.programs.seconds += time.perf_counter() - self._begin
        import pyopencl as cl

        try:
            own = dict(zip(self.handle.get_info(cl.program_info.DEVICES), self.handle.get_info(cl.program_info.BINARIES), strict=True))
            binaries = [bytes(own[device]) for device in self._device.context.devices]
        except (cl.Error, ValueError, KeyError):
            return
        if all(binaries):
            content = b"".join(len(binary).to_bytes(8, "little") + binary for binary in binaries)
            with suppress(OSError):
                _write(self._path, MAGIC + hashlib.sha256(content).digest() + content)

    def _load(self) -> Any:
        import pyopencl as cl

        try:
            content = self._path.read_bytes()
        except OSError:
            return None
        head, rest = content[: len(MAGIC) + 32], content[len(MAGIC) + 32 :]
        if head != MAGIC + hashlib.sha256(rest).digest():
            return None
        binaries = []
        while rest:
            end = 8 + int.from_bytes(rest[:8], "little")
            binaries.append(rest[8:end])
            rest = rest[end:]
        context = self._device.context
        try:
            return _quietly(cl.Program(context, context.devices, binaries), self._device)
        except (cl.Error, ValueError):
            return None


def _key(device: OpenCLDevice, plan: ExecutionPlan) -> str:
    """Of everything that decides what the compiler makes of a source. PoCL's device version names the processor it compiles for."""
    info = device.info
    versions = [(handle.name, handle.version) for handle in device.context.devices]
    parts = (plan.source, _options(device), info.name, info.driver, info.runtime, versions)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _options(device: OpenCLDevice) -> list[str]:
    """Of the compiler: the one way to launch that the device uses, so that the others are not compiled."""
    return ["-DONLY_OPERATORS" if device.by_operator else "-DONLY_NETWORK" if device.helpers is None else "-DONLY_TEAM"]


def _quietly(program: Any, device: OpenCLDevice) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.build(_options(device), cache_dir=False)  # one cache is enough


def _compile(device: OpenCLDevice, plan: ExecutionPlan) -> Any:
    """Raises DeviceError with the place of the saved source and the build log."""
    import pyopencl as cl

    try:
        return _quietly(cl.Program(device.context, plan.source), device)
    except cl.Error as fault:
        saved = Path(tempfile.mkdtemp(prefix="mobiprox-")) / f"{plan.name}.cl"
        saved.write_text(plan.source)
        log = str(fault).strip()
        raise DeviceError(
            f"the kernels of '{plan.name}' do not build on '{device.info.name}' ({device.info.runtime}, {device.info.isa}); source saved to {saved}\n{log}",
            mend="choose another device ('mobiprox devices'), or report it with the saved source",
        ) from fault


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = sorted((found.stat().st_mtime, found.stat().st_size, found) for found in path.parent.glob("*.bin"))
    excess = sum(size for _, size, _ in entries) + len(content) - MOST_BYTES
    for _, size, old in entries:
        if excess <= 0:
            break
        old.unlink(missing_ok=True)
        excess -= size
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
