"""Which OpenCL calls the runtime makes: a library between it and the driver counts them."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mobiprox_backend_native.build import SOURCES, host_environment
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import open_device
from native_bundles import LEVELS, TECHNIQUES, write_bundle

from mobiprox_core.configuration import EXACT_CONFIGURATION
from mobiprox_core.lowering import lower

pytestmark = pytest.mark.opencl

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "opencl.h"

long *calls;
#define REAL(name, result, arguments) void *real_##name;
OPENCL_NEEDED(REAL)
OPENCL_OPTIONAL(REAL)
/* Counts, and goes on in the driver with all arguments where they are. */
#define JUMP(name, result, arguments) \
    __asm__(".globl " #name "\n.type " #name ", @function\n" #name ":\n mov calls@GOTPCREL(%rip), %r11\n mov (%r11), %r11\n" \
            " lock incq (%r11)\n mov real_" #name "@GOTPCREL(%rip), %r11\n jmp *(%r11)\n");
OPENCL_NEEDED(JUMP)
OPENCL_OPTIONAL(JUMP)

__attribute__((constructor)) static void find(void) {
    calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, open(getenv("TEST_CALLS"), O_RDWR), 0);
    void *driver = dlopen(getenv("TEST_DRIVER"), RTLD_NOW | RTLD_LOCAL);
    if (!driver || calls == MAP_FAILED) abort();
#define FIND(name, result, arguments) real_##name = dlsym(driver, #name);
    OPENCL_NEEDED(FIND)
    OPENCL_OPTIONAL(FIND)
}
"""


def test_switching_levels_calls_nothing_and_costs_the_next_inference_nothing(runner: Path, tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("the counting library is for gcc on x86-64")
    (tmp_path / "counter.c").write_text(COUNTER)
    library, calls = tmp_path / "counter.so", tmp_path / "calls"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", f"-I{SOURCES / 'src'}", tmp_path / "counter.c", "-ldl", "-o", library], check=True)
    calls.write_bytes(bytes(8))
    device = open_device({})
    plan = lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS)
    bundle = write_bundle(tmp_path / "bundle", plan, (EXACT_CONFIGURATION, *LEVELS), 10)
    np.zeros((2, 3, 8, 8), dtype=np.float32).tofile(tmp_path / "x")
    environment = host_environment()
    environment |= {"TEST_CALLS": str(calls), "TEST_DRIVER": environment.get("MOBIPROX_OPENCL_LIBRARY", "libOpenCL.so.1")}
    command = [str(runner), "--serve", str(bundle), "--library", str(library)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "info"

        def told(**what: Any) -> int:
            """How many OpenCL calls a command made."""
            assert process.stdin is not None
            assert process.stdout is not None
            before = int.from_bytes(calls.read_bytes(), "little")
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["event"] == "done"
            return int.from_bytes(calls.read_bytes(), "little") - before

        assert int.from_bytes(calls.read_bytes(), "little") > 20
        run = {"do": "run", "inputs": str(tmp_path / "x"), "outputs": str(tmp_path / "y")}
        usual = told(**run)
        assert usual > 0
        for level in (3, 0, 2, 1):
            assert told(do="level", level=level) == 0
            assert told(**run) == usual
        process.stdin.close()
        assert json.loads(process.stdout.readline())["event"] == "end"
    assert process.returncode == 0
