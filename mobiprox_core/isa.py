"""Instruction sets of CPUs that kernels can be compiled for, best first; `program.ISA_ATTRIBUTES` says how."""

from __future__ import annotations

from pathlib import Path

VECTOR = {"avx512": 16, "avx2": 8, "generic": 4}
"""Floats per vector."""

FLAGS = {"avx512": {"avx512f", "avx512vl", "avx512bw", "avx512dq", "avx2", "fma"}, "avx2": {"avx2", "fma"}, "generic": set[str]()}
"""CPU flags that each needs."""

EXTENSIONS = {"cl_khr_integer_dot_product"}
"""OpenCL extensions that kernels may use where a device has them."""

TARGETS = {"avx512_vnni": ("avx512", "avx512vnni"), "avx512_bf16": ("avx512", "avx512bf16")}
"""CPU flags beyond those: the instruction set that each extends, and what a compiler calls it."""


def features(isa: str, flags: set[str], extensions: set[str]) -> tuple[str, ...]:
    """What kernels for an instruction set may use beside it: CPU flags of `TARGETS`, and OpenCL extensions."""
    return tuple(sorted({flag for flag, (of, _) in TARGETS.items() if of == isa and flag in flags} | (extensions & EXTENSIONS)))


def cpu_flags() -> set[str]:
    """Feature flags of this machine's CPU; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
