"""Instruction sets of CPUs that kernels can be compiled for, best first; `program.ISA_ATTRIBUTES` says how."""

from __future__ import annotations

from pathlib import Path

VECTOR = {"avx512": 16, "avx2": 8, "generic": 4}
"""Floats per vector."""

FLAGS = {"avx512": {"avx512f", "avx512vl", "avx512bw", "avx512dq", "avx2", "fma"}, "avx2": {"avx2", "fma"}, "generic": set[str]()}
"""CPU flags that each needs."""


def cpu_flags() -> set[str]:
    """Feature flags of this machine's CPU; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
