"""The library of an exported project on a desktop JVM that checks every JNI call: `java/Check.java` uses it as an app would."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mobiprox_backend_native.build import host_environment

from mobiprox_core import plugins
from mobiprox_core.session import Session

pytestmark = pytest.mark.opencl

HERE = Path(__file__).resolve().parent
STUBS = HERE / "android_stubs"


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    """Some digits many times over, so that strategies have something to agree on."""
    digits = plugins.load().get("dataset", "digits").load("test", {}, HERE).inputs[:6]
    return np.repeat(digits.reshape(6, 1, 1, 32, 32).astype(np.float32), 6, axis=0)


@pytest.fixture(scope="module")
def library(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with libmobiprox_jni.so, built from the exported project as it is, but warnings are errors."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake and a C compiler (Debian: cmake, gcc, libcjson-dev)")
    folder = tmp_path_factory.mktemp("jni")
    source = exported / "mobiprox" / "src" / "main" / "cpp"
    java = Path(str(shutil.which("javac"))).resolve().parents[1]
    configure = [
        "cmake",
        "-S",
        source,
        "-B",
        folder,
        "-DMOBIPROX_WARNINGS_AS_ERRORS=ON",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DJAVA_HOME={java}",
    ]
    for command in (configure, ["cmake", "--build", folder, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def facts(
    exported: Path, library: Path, javac: Callable[..., None], inputs: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], np.ndarray]:
    """What Check.java saw, and the scores float32[levels, inputs, 10]."""
    place = tmp_path_factory.mktemp("check")
    project = exported / "mobiprox" / "src" / "main"
    javac(place / "classes", project / "java", exported / "app" / "src" / "main" / "java", STUBS, HERE / "java")
    (place / "inputs").write_bytes(struct.pack("<i", len(inputs)) + inputs.tobytes())
    shutil.copytree(project / "assets", place / "assets")
    java = Path(str(shutil.which("javac"))).resolve().parents[1]
    command = [
        java / "bin" / "java",
        "-Xcheck:jni",
        "-Xmx256m",
        f"-Djava.library.path={library}",
        "-cp",
        place / "classes",
        "-Dfile.encoding=UTF-8",
    ]
    command += ["-Dstdout.encoding=UTF-8", "Check", place / "assets", place / "data", place / "inputs", place / "outputs"]
    # PoCL replaces the JVM's signal handlers; libjsig chains them.
    environment = host_environment() | {"LD_PRELOAD": str(java / "lib" / "libjsig.so"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    complaints = re.findall(r"^(?:WARNING in native|FATAL ERROR in native|Warning: .* handler).*$", done.stdout + done.stderr, re.MULTILINE)
    assert not complaints, done.stdout + done.stderr
    seen = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert seen["end"] == "true"
    return seen, np.fromfile(place / "outputs", dtype=">f4").astype(np.float32).reshape(-1, len(inputs), 10)


def test_every_level_gives_the_bits_of_the_python_runner(
    facts: tuple[dict[str, str], np.ndarray], bundle: Path, inputs: np.ndarray
) -> None:
    seen, found = facts
    with Session.open(bundle) as session:
        session.strategy = None
        assert seen["name"] == "digits"
        assert seen["device"] == session.bundle.plan.device.name
        assert seen["classes"].split("|") == list(session.bundle.classes)
        for level in range(len(found)):
            for i, x in enumerate(inputs):
                session.level = level
                np.testing.assert_array_equal(found[level, i], np.asarray(session.infer(x).outputs).ravel())
    assert seen["arrays and buffers agree"] == "true"


@pytest.mark.parametrize("strategy", ["state", "naive", "confidence"])
def test_strategies_walk_as_in_python_and_the_listener_is_told(
    strategy: str, facts: tuple[dict[str, str], np.ndarray], bundle: Path, inputs: np.ndarray
) -> None:
    options = {"increase": "exponential"} if strategy == "confidence" else {}
    with Session.open(bundle) as session:
        session.strategy = plugins.load().get("strategy", strategy).create(options, session.bundle.calibration)
        session.level = 0
        wanted = [session.infer(x) for x in inputs]
    walked = [int(word) for word in facts[0][f"walk {strategy}"].split()]
    assert walked[::2] == [p.level for p in wanted]
    assert walked[1::2] == [p.label for p in wanted]
    told = [step.split(">") for step in facts[0][f"told {strategy}"].split()]
    assert [int(level) for level, _ in told] == walked[::2]
    assert [int(level) for _, level in told[:-1]] == walked[2::2]
    assert facts[0]["by hand"] == "1"


REFUSALS = {
    "level": "IllegalArgumentException: there is no level 99",
    "size": "IllegalArgumentException: input 0 has 1024 numbers, not 3",
    "inputs": "IllegalArgumentException: the network has 1 inputs, not 2",
    "null": "NullPointerException",
    "null buffers": "NullPointerException",
    "heap": "is not a direct one; use ByteBuffer.allocateDirect",
    "short": "has 8 bytes; wanted are 4096",
    "order": "use .order(ByteOrder.nativeOrder())",
    "alignment": "is not aligned to 4 bytes",
    "output": "there is no output 5",
    "shape": "there is no such input or output",
    "strategy": "IllegalArgumentException: strategy 'unheard' is not part of this runtime",
    "strategy options": "IllegalArgumentException",
    "closed": "IllegalStateException: it is closed",
    "closed level": "IllegalStateException: it is closed",
    "closed getter": "IllegalStateException: it is closed",
    "missing asset": "MobiproxException: the asset 'nothing' is no bundle",
    "missing folder": "MobiproxException: /nowhere/é\N{GRINNING FACE}/bundle.json: cannot be read: No such file",
    "no library": "MobiproxException: no OpenCL library can be loaded; tried: /nowhere/libOpenCL.so",
    "zero in a text": "IllegalArgumentException: a text has a zero character in it",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_call_is_an_exception_with_its_reason(name: str, facts: tuple[dict[str, str], np.ndarray]) -> None:
    assert REFUSALS[name] in facts[0][name]


def test_it_lives_on_after_refusals_and_among_threads(facts: tuple[dict[str, str], np.ndarray]) -> None:
    assert facts[0]["strategy after refusals"] == "null"
    assert facts[0]["still runs"] == "true"
    assert facts[0]["threads"] == "80 500"


def test_assets_are_copied_once_per_version_and_kernels_compiled_once(facts: tuple[dict[str, str], np.ndarray]) -> None:
    assert facts[0]["cached"] == "true"
    assert (facts[0]["versions"], facts[0]["versions after an update"]) == ("1", "1")


def test_the_sample_times_every_level(facts: tuple[dict[str, str], np.ndarray]) -> None:
    report = facts[0]["sample"]
    assert report.startswith("digits on ")
    assert all(f"level {level}: " in report for level in range(len(facts[1])))
    assert "state walks:" in report


def test_only_what_java_calls_is_visible(library: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("needs nm (Debian: binutils)")
    done = subprocess.run(["nm", "-D", "--defined-only", library / "libmobiprox_jni.so"], capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in done.stdout.splitlines()} == {"JNI_OnLoad", "JNI_OnUnload"}
    assert os.path.getsize(library / "libmobiprox_jni.so") < 1 << 20
