"""Compiled programs on disk: the second start takes them, several processes share them, damaged ones are made again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mobiprox_backend_opencl import programs, trial
from mobiprox_backend_opencl.devices import open_device
from mobiprox_backend_opencl.runner import OpenCLDevice

from mobiprox_core import reference
from mobiprox_core.lowering import lower
from mobiprox_core.plan import ExecutionPlan

pytestmark = pytest.mark.opencl

X = np.random.default_rng(7).standard_normal((2, 3, 8, 8)).astype(np.float32)
PROCESS = """
import sys
import numpy as np
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import open_device
from mobiprox_core.lowering import lower

device = open_device({})
x = np.random.default_rng(7).standard_normal((2, 3, 8, 8)).astype(np.float32)
for _ in range(int(sys.argv[1])):
    runner = device.load(lower(trial.network(), device.info, {}, {}))
    print(runner.run(x).tobytes().hex())
    runner.close()
print(device.programs)
"""


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in the place of the programs' folder; verdicts on devices stay where they are."""
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path)
    return tmp_path / "programs"


def plan(device: OpenCLDevice) -> ExecutionPlan:
    return lower(trial.network(), device.info, {}, {})


def load(options: dict[str, str] | None = None) -> tuple[OpenCLDevice, np.ndarray]:
    device = open_device(options or {})
    runner = device.load(plan(device))
    output = runner.run(X)
    runner.close()
    return device, output


def test_the_second_start_takes_the_compiled_program_and_says_when_it_was_built(cache: Path) -> None:
    first, output = load()
    assert str(first.programs).startswith("program compiled in ")
    second, again = load()
    assert str(second.programs).startswith("program from the cache (built 20")
    np.testing.assert_array_equal(again, output)
    assert len(list(cache.iterdir())) == 1


def test_several_programs_are_counted(cache: Path) -> None:
    device = open_device({})
    for _ in range(3):
        device.load(plan(device)).close()
    assert (device.programs.compiled, device.programs.cached) == (1, 2)
    assert str(device.programs).startswith("programs: 1 compiled in ")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole[:20],
        lambda whole: b"",
        lambda whole: b"something else",
        lambda whole: whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        lambda whole: whole + b"more",
    ],
    ids=["half", "all but one byte", "head", "empty", "another file", "one bit", "longer"],
)
def test_a_damaged_entry_is_ignored_and_made_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    _, output = load()
    [entry] = cache.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    device, again = load()
    assert device.programs.compiled == 1
    np.testing.assert_array_equal(again, output)
    assert load()[0].programs.cached == 1
    assert list(cache.iterdir()) == [entry]


def test_what_the_driver_does_not_take_back_is_compiled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    [entry] = cache.iterdir()
    nonsense = 2 * ((2000).to_bytes(8, "little") + bytes(2000))
    entry.write_bytes(programs.MAGIC + programs.hashlib.sha256(nonsense).digest() + nonsense)
    assert load()[0].programs.compiled == 1


def test_source_launches_driver_and_instruction_set_each_have_an_entry(cache: Path) -> None:
    device, _ = load()
    own = plan(device)
    device.load(replace(own, source=own.source + "\n// changed")).close()
    load({"launch": "operators"})
    load({"isa": "generic"})
    device.info = replace(device.info, driver="newer")
    device.load(own).close()
    assert len(list(cache.iterdir())) == 5
    assert device.programs.compiled == 3


def test_a_folder_that_cannot_be_written_is_no_fault(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    device, output = load()
    assert device.programs.compiled == 1
    np.testing.assert_allclose(output, reference.run(trial.network(), [X])[0], atol=1e-5)


def test_the_oldest_go_when_the_folder_is_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    [first] = cache.iterdir()
    monkeypatch.setattr(programs, "MOST_BYTES", first.stat().st_size * 3 // 2)
    load({"isa": "generic"})
    assert len(list(cache.iterdir())) == 1
    assert not first.exists()


def test_processes_that_start_together_share_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes compile, write and read one entry at once, while it is damaged again and again."""
    open_device({})  # judged now, at the latest
    verdicts = list(programs.cache_folder().glob("canary-*.json"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for verdict in verdicts:
        shutil.copy(verdict, programs.cache_folder())
    wanted = load()[1].tobytes().hex()
    folder = programs.cache_folder() / "programs"
    for entry in folder.iterdir():
        entry.unlink()
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    over = threading.Event()

    def vandal() -> None:
        while not over.wait(0.02):
            for entry in folder.glob("*.bin"):
                content = entry.read_bytes()
                entry.write_bytes(content[: len(content) // 2])

    thread = threading.Thread(target=vandal)
    thread.start()
    try:
        ends = [process.communicate(timeout=120) for process in processes]
    finally:
        over.set()
        thread.join()
    assert [process.returncode for process in processes] == [0] * 3, [errors for _, errors in ends]
    for said, _ in ends:
        *outputs, last = said.splitlines()
        assert outputs == [wanted] * 4
        assert last.startswith("programs: ")
    load()
    assert load()[0].programs.cached == 1
    assert all(entry.suffix == ".bin" for entry in folder.iterdir())
