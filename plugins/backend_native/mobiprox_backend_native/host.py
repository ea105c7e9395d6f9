"""Devices of this machine behind `mbx-run`."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobiprox_core import bundle as bundles
from mobiprox_core.cache import cache_folder
from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import DeviceReport, Options
from mobiprox_core.plan import DeviceInfo, ExecutionPlan

from .build import build_runner, host_environment
from .served import Ended, ServedRunner, answer, ask, check_plan, info_of, unmeasured


def reports() -> Sequence[DeviceReport]:
    """Every device that the runtime finds, or the reason why it finds none."""
    try:
        return [DeviceReport("native", d["index"], d["name"], info=info_of(d, "auto", None)) for d in _found()]
    except DeviceError as fault:
        return [DeviceReport("native", 0, "none", problem=fault.what.partition("\n")[0], mend=fault.mend)]


def open_device(options: Options) -> NativeDevice:
    """The device that the options choose. Raises DeviceError where none or several fit, or the runtime cannot be built."""
    found, wanted, threads = _found(), options.get("device", "auto"), options.get("threads")
    listing = "; ".join(f"{d['index']}: {d['name']}" for d in found) or "none"
    fitting = [
        d for d in found if wanted == "auto" or (d["index"] == wanted if isinstance(wanted, int) else wanted.lower() in d["name"].lower())
    ]
    if len(fitting) > 1:  # PoCL offers the CPU twice: with all threads, and with the calling one only
        fitting = [d for d in fitting if (d["compute_units"] == 1) == (threads == 1)] or fitting
    if not fitting or (len(fitting) > 1 and wanted != "auto"):
        raise DeviceError(f"'{wanted}' means {len(fitting) or 'none'} of the devices", mend=f"devices are: {listing}")
    return NativeDevice(info_of(fitting[0], options.get("isa", "auto"), threads))


def _runner() -> Path:
    return build_runner(cache_folder() / "native")


def _found() -> list[dict[str, Any]]:
    done = subprocess.run([str(_runner()), "--devices"], capture_output=True, text=True, env=host_environment(), check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if not events or not events[-1].get("ok"):
        reason = events[-1].get("error") if events else f"it ended with {done.returncode}"
        raise DeviceError(f"the native runtime finds no OpenCL: {reason}", mend="pip install 'pyopencl[pocl]' brings one for the CPU")
    return [event for event in events if event["event"] == "device"]


class NativeDevice:
    """An OpenCL device, driven by the native runtime."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info

    def load(self, plan: ExecutionPlan) -> NativeRunner:
        """Start a runtime of its own with the plan; it builds, allocates and warms everything."""
        check_plan(plan, self.info)
        return NativeRunner(self.info, plan)

    def close(self) -> None:
        """Nothing stays open but runners."""


class NativeRunner(ServedRunner):
    """A plan in a process of the native runtime on this machine. Ends with `close`, or with this process."""

    def __init__(self, info: DeviceInfo, plan: ExecutionPlan) -> None:
        super().__init__(plan)
        self._folder = tempfile.TemporaryDirectory(prefix="mobiprox-")
        bundle = Path(self._folder.name) / "bundle"
        bundles.write(unmeasured(plan), bundle)
        command = [str(_runner()), "--serve", str(bundle), "--device", info.name, "--threads", str(info.threads)]
        command += ["--cache", str(cache_folder() / "native")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=host_environment()
        )
        try:
            self._answered(lambda: answer(self))  # what it runs on, once everything is built
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process and remove its files."""
        if self._process.returncode is None:
            self._process.communicate()
        self._folder.cleanup()

    # -- the process as a Pipe

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            pass  # it ended: reading says so

    def readline(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(count)

    def _ask(self, command: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        return self._answered(lambda: ask(self, command, payload))

    def _answered(self, asking: Callable[[], tuple[dict[str, Any], bytes]]) -> tuple[dict[str, Any], bytes]:
        try:
            return asking()
        except Ended as cut:
            assert self._process.stderr is not None
            last = (self._process.stderr.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            code = self._process.wait()
            how = f"killed by signal {-code}" if code < 0 else f"ended with {code}"
            raise DeviceError(f"the native runtime failed on '{self.plan.name}': {how}: {last}") from cut
