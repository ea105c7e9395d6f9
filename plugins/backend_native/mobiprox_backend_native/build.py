"""Building the native runner from the sources in this package, and running it on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mobiprox_core.errors import DeviceError

SOURCES = Path(__file__).parent / "native"
"""CMakeLists.txt and what it builds."""

RUNNER = "mbx-run"
_LAST_LINES = 30


def source_digest() -> str:
    """Of every file in `SOURCES`, names included."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(SOURCES).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def build_runner(folder: Path, definitions: Mapping[str, str] | None = None, target: str = RUNNER) -> Path:
    """The runner for this machine, or with a toolchain file among the definitions for another; built in `folder` unless it is there.

    definitions: CMake's cache variables, e.g. MOBIPROX_SANITIZE, MOBIPROX_STRATEGIES, CMAKE_TOOLCHAIN_FILE. A runner is known by
    the digest of sources and definitions. Raises DeviceError, with the end of the compiler's output, where it does not build.
    """
    chosen = dict(sorted((definitions or {}).items()))
    key = hashlib.sha256(f"{source_digest()} {chosen} {target}".encode()).hexdigest()[:16]
    built = folder / f"{target}-{key}"
    if built.exists():
        return built
    if shutil.which("cmake") is None:
        raise DeviceError("the native runner needs CMake to be built", mend="install it (Debian: cmake, gcc, libcjson-dev)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as place:
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        _run("cmake", *generator, "-S", str(SOURCES), "-B", place, *(f"-D{name}={value}" for name, value in chosen.items()))
        _run("cmake", "--build", place, "--target", target)
        os.replace(Path(place) / target, built)
    return built


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode:
        log = "\n".join(done.stdout.strip().splitlines()[-_LAST_LINES:])
        raise DeviceError(
            f"the native runner does not build: '{' '.join(command[:2])} ...' ended with {done.returncode}\n{log}",
            mend="it needs CMake 3.18, a C11 compiler and cJSON (Debian: cmake, gcc, libcjson-dev)",
        )


def host_environment() -> dict[str, str]:
    """The environment in which the runner finds the OpenCL that pyopencl brings, PoCL's one-thread device included.

    That of this process where pyopencl is not installed, or brings no OpenCL of its own.
    """
    environment = dict(os.environ)
    spec = importlib.util.find_spec("pyopencl")
    home = Path(spec.origin).parent if spec is not None and spec.origin else None
    libraries = sorted((home / ".libs").glob("libOpenCL*.so*")) if home else []
    if home and libraries:
        paths = [str(libraries[0].parent), *filter(None, [environment.get("LD_LIBRARY_PATH")])]
        environment |= {"PYOPENCL_HOME": str(home), "LD_LIBRARY_PATH": os.pathsep.join(paths)}
        environment.setdefault("MOBIPROX_OPENCL_LIBRARY", str(libraries[0]))
        environment.setdefault("POCL_DEVICES", "basic pthread")
    return environment
