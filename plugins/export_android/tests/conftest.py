"""An exported project of the digits network, with strategy `state`, and a JDK."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "plugins" / "backend_native" / "tests")]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five levels; the classes have names that are hard to spell."""
    from mobiprox_backend_opencl.devices import open_device
    from test_native_runner import network_bundle

    from mobiprox_core import bundle as bundles
    from mobiprox_core.experiment import Choice

    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    network_bundle(ROOT / "examples" / "digits" / "digits.onnx", folder, open_device({}), 4, Choice("state", {}))
    names = ("null", "één", "zwei", "\N{GRINNING FACE}", "四", "5", "6", "7", "8", "9")
    bundles.write(replace(bundles.read(folder), classes=names), folder)
    return folder


@pytest.fixture(scope="session")
def exported(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mobiprox_export_android.project import write

    folder = tmp_path_factory.mktemp("app") / "project"
    write(bundle, folder)
    return folder


@pytest.fixture(scope="session")
def javac() -> Callable[..., None]:
    """Compiles the Java files below some folders, warnings being errors; skips without a JDK."""
    if shutil.which("javac") is None:
        pytest.skip("needs a JDK (Debian: default-jdk-headless)")

    def compile(target: Path, *folders: Path) -> None:
        files = [str(path) for folder in folders for path in sorted(folder.rglob("*.java"))]
        command = [
            "javac",
            "-Xlint:all,-options,-serial,-try",
            "-Werror",
            "--release",
            "8",
            "-encoding",
            "UTF-8",
            "-d",
            str(target),
            *files,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return compile
