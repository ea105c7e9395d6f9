"""Choosing a device, learning what it can do, and keeping broken ones away from the process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from mobiprox_core.cache import cache_folder
from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import DeviceReport, Options
from mobiprox_core.isa import FLAGS, VECTOR, cpu_flags, features
from mobiprox_core.plan import DeviceInfo

from . import trial
from .finding import Found, find
from .runner import OpenCLDevice

CANARY_SECONDS = 120
NO_ANSWER = f"no answer within {CANARY_SECONDS} s"
"""The one verdict that is not kept: the machine may have been busy."""


def reports() -> Sequence[DeviceReport]:
    """One report per device; what cannot be used says why."""
    try:
        found = find()
    except DeviceError as fault:
        return [DeviceReport("opencl", 0, "none", problem=fault.what, mend=fault.mend)]
    result = []
    for device in found:
        try:
            result.append(DeviceReport("opencl", device.index, device.name, info=describe(device, "auto", None, not device.is_cpu)))
        except DeviceError as fault:
            result.append(DeviceReport("opencl", device.index, device.name, problem=fault.what, mend=fault.mend))
    return result


def open_device(options: Options) -> OpenCLDevice:
    """The device that the options choose.

    Raises DeviceError, with a list of what is there, where none or several fit, or where it is broken.
    """
    threads = options.get("threads")
    found = find()
    chosen = _choose(found, options.get("device", "auto"), threads)
    launch = options.get("launch", "auto")
    by_operator = launch == "operators" or not chosen.is_cpu
    info = describe(chosen, options.get("isa", "auto"), threads, by_operator)
    if launch == "network" and info.kind != "cpu":
        raise DeviceError(
            f"'{chosen.name}' cannot run the network kernel: work-items that wait for each other are unsafe on it", mend="use launch: auto"
        )
    return OpenCLDevice(chosen.handle, info, by_operator, caller_of(chosen, found))


def _choose(found: Sequence[Found], wanted: str | int, threads: int | None) -> Found:
    listing = "; ".join(f"{d.index}: {d.name} ({d.runtime})" for d in found) or "none"
    if wanted == "auto":
        cpus = [d for d in found if d.is_cpu]
        order = sorted(cpus or found, key=lambda d: (d.compute_units == 1) != (threads == 1))  # PoCL's one-thread device for one thread
        if order:
            return order[0]
        raise DeviceError("OpenCL finds no device", mend="pip install 'pyopencl[pocl]' brings one for the CPU")
    fitting = [d for d in found if (d.index == wanted if isinstance(wanted, int) else wanted.lower() in f"{d.name} {d.runtime}".lower())]
    if len(fitting) > 1:
        fitting = [d for d in fitting if isinstance(wanted, str) and wanted.lower() == d.name.lower()] or fitting
        fitting = [d for d in fitting if (d.compute_units == 1) == (threads == 1)] or fitting
    if not fitting:
        raise DeviceError(f"no OpenCL device is called '{wanted}'", mend=f"devices are {listing}")
    if len(fitting) > 1:
        raise DeviceError(f"'{wanted}' means several OpenCL devices", mend=f"choose by index: {listing}")
    return fitting[0]


def caller_of(device: Found, found: Sequence[Found]) -> Any:
    """Handle of the device of the same runtime that works on the calling thread: the one with one compute unit. None without."""
    return next((d.handle for d in found if d.is_cpu and d.runtime == device.runtime and d.compute_units == 1), None)


def describe(device: Found, isa: str, threads: int | None, by_operator: bool = False) -> DeviceInfo:
    """What lowering may use: the best instruction set whose canary lived, unless one is asked for.

    Raises DeviceError where the one asked for, or every one, fails.
    """
    info = DeviceInfo(
        name=device.name,
        driver=device.driver,
        runtime=device.runtime,
        kind="cpu" if device.is_cpu else "gpu",
        block=16 if device.is_cpu else 4,
        vector=4,
        threads=min(threads or device.compute_units, device.compute_units) if device.is_cpu else device.compute_units,
        fp16="cl_khr_fp16" in device.extensions,
        max_alloc_bytes=device.max_alloc_bytes,
    )
    if threads is not None and device.is_cpu and threads > device.compute_units:
        raise DeviceError(f"'{device.name}' has {device.compute_units} thread(s), not {threads}", mend="ask for fewer threads")
    flags = cpu_flags() if device.is_cpu else set()
    verdicts = []
    for candidate in _isas(isa, device, flags):
        known = features(candidate, flags, set(device.extensions))
        for offered in dict.fromkeys([known, ()]):  # without them where one of them fails
            trial = replace(info, isa=candidate, vector=VECTOR[candidate], features=offered)
            verdict = canary(device, trial, by_operator)
            if verdict is None:
                return trial
            verdicts.append(f"{' with '.join([candidate, *offered])}: {verdict}")
    raise DeviceError(
        f"'{device.name}' fails the trial run ({'; '.join(verdicts)})",
        mend="update or remove this OpenCL runtime, or choose another device; 'mobiprox devices' lists them",
    )


def _isas(wanted: str, device: Found, flags: set[str]) -> Iterator[str]:
    if wanted == "auto":
        yield from (isa for isa, needs in FLAGS.items() if needs <= flags and (device.is_cpu or isa == "generic"))
    elif FLAGS[wanted] <= flags:
        yield wanted
    else:
        missing = ", ".join(sorted(FLAGS[wanted] - flags))
        raise DeviceError(f"instruction set '{wanted}' needs a CPU with {missing}", mend="use isa: auto")


def canary(device: Found, info: DeviceInfo, by_operator: bool = False) -> str | None:
    """Build and run every kind of kernel in a process of its own; None if it lived and was right, else what happened.

    A runtime's fault can end the process, and nothing in Python catches that. Verdicts are kept on disk, by device, driver,
    runtime, instruction set, way of launching, and the text of the kernels.
    """
    key = hashlib.sha256(repr((device.name, device.driver, device.runtime, info, by_operator, trial.digest())).encode()).hexdigest()[:24]
    kept = cache_folder() / f"canary-{key}.json"
    try:
        verdict: str | None = json.loads(kept.read_text())["verdict"]
    except (OSError, ValueError, KeyError):
        verdict = _fly(device.index, info, by_operator)
        if verdict == NO_ANSWER:
            return verdict
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"device": device.name, "isa": info.isa, "verdict": verdict}))
        temporary.replace(kept)
    return verdict


def _fly(index: int, info: DeviceInfo, by_operator: bool = False) -> str | None:
    command = [
        sys.executable,
        "-m",
        "mobiprox_backend_opencl.trial",
        str(index),
        "operators" if by_operator else "network",
        json.dumps(asdict(info)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CANARY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return NO_ANSWER
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"killed by signal {-done.returncode} ({last})" if done.returncode < 0 else last
