"""Worker processes, as the one who compares sees them: questions and answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from .. import errors
from ..errors import DeviceError, MobiproxError

PATIENCE_S = 5.0
"""How long a process may take to end."""


class Process:
    """One engine's worker. A context manager: the process is gone at its end."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.waited_s = 0.0
        self.waited_cpu_s = 0.0
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mobiprox_core.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )

    @property
    def idle_cores(self) -> float:
        """What it used while it waited for questions: a share of one core, nothing if all is well."""
        return self.waited_cpu_s / self.waited_s if self.waited_s else 0.0

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """The answer to a question of `worker`. Raises the error that the worker reports, DeviceError where its process was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        seconds, cpu_s = answer.pop("waited")
        self.waited_s += seconds
        self.waited_cpu_s += cpu_s
        if "error" in answer:
            raise _error(answer["error"])
        return answer

    def close(self) -> None:
        """End the process, by the end of its stdin if it listens."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._process.kill()  # it may be in the middle of something
        self.close()

    def _death(self) -> Exception:
        """Why there is no answer: a driver or an engine that took the process along, or a bug."""
        code = self._process.wait()
        self._log.seek(0)
        words = self._log.read().strip()
        if code > 0:
            return RuntimeError(f"the process of {self.engine} ended with code {code}\n{words}")
        last = words.splitlines()[-1:] or ["no message"]
        return DeviceError(f"{self.engine} ended its process by signal {-code} ({last[0]})", mend=f"update {self.engine}, or leave it out")


def _error(report: Mapping[str, Any]) -> MobiproxError:
    kind = getattr(errors, report["kind"], MobiproxError)
    error: MobiproxError = kind(report["what"], where=report["where"], mend=report["mend"])
    return error
