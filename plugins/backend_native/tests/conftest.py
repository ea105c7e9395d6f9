"""The native runner, built once per state of its sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from mobiprox_backend_native.build import build_runner  # noqa: E402
from native_bundles import CACHE, SANITIZERS  # noqa: E402

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build() -> Build:
    """Builds the runner with CMake definitions; skips where this machine lacks a compiler or cJSON."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None or shutil.which("cmake") is None:
        pytest.skip("needs a C compiler and cmake (Debian: gcc, cmake)")
    probe = subprocess.run(
        [compiler, "-E", "-x", "c", "-"], input="#include <cjson/cJSON.h>\n", capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip("needs cJSON with its headers (Debian: libcjson-dev)")
    return lambda **definitions: build_runner(CACHE, definitions)


@pytest.fixture(scope="session")
def runner(build: Build) -> Path:
    return build()


@pytest.fixture(scope="session")
def sanitized(build: Build) -> Path:
    """The runner with AddressSanitizer and UndefinedBehaviorSanitizer, leaks included."""
    return build(**SANITIZERS)
