"""Processors younger than PoCL's compiler.

PoCL asks the LLVM it was built with for the processor's name. An LLVM that does not know the processor says "generic", and its own
front end refuses that name: no program builds (https://github.com/pocl/pocl/issues/1049). PoCL 3.0, the last one that pip has, takes no
other name from outside. So it is put where PoCL keeps it: in its record of the device, the one pointer to the text "generic" there.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Set

RECORD_BYTES = 1024
"""Where the pointer is looked for, from the start of the record; PoCL 3.0 has it at 640."""

UNKNOWN = b"generic\0"

NAMES: tuple[tuple[str, frozenset[str]], ...] = (
    ("znver3", frozenset({"sse4a", "avx2", "bmi2", "fma", "vaes", "vpclmulqdq", "clwb", "rdpid"})),
    ("x86-64-v4", frozenset({"avx2", "bmi2", "fma", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
    ("x86-64-v3", frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})),
    ("x86-64-v2", frozenset({"sse4_2", "ssse3", "popcnt", "cx16"})),
    ("x86-64", frozenset()),
)
"""Names that every LLVM since 12 knows, most able first, and the flags of a processor that can do what they stand for."""

_kept: list[ctypes.Array[ctypes.c_char]] = []  # PoCL reads the names for as long as the process lives


def stand_in(flags: Set[str]) -> str:
    """The most able processor that LLVM knows and that does no more than one with these flags."""
    return next(name for name, needs in NAMES if needs <= flags)


def name_processor(record: int, flags: Set[str]) -> str | None:
    """Give a device of PoCL, by the address of its record, a name that its compiler takes; None where it has one, or none is found."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    place = _pointer_to(UNKNOWN, record)
    if place is None:
        return None
    name = stand_in(flags)
    _kept.append(ctypes.create_string_buffer(name.encode()))
    ctypes.c_void_p.from_address(place).value = ctypes.addressof(_kept[-1])
    return name


def _pointer_to(text: bytes, record: int) -> int | None:
    """Address of the first word of a record that points to a text. Read through the system, so that a word that is no address does no harm."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:

        def read(address: int, count: int) -> bytes:
            try:
                memory.seek(address)
                return memory.read(count)
            except (OSError, OverflowError, ValueError):
                return b""

        words = memoryview(read(record, RECORD_BYTES)).cast("Q")
        return next((record + 8 * i for i, word in enumerate(words) if 0 < word < 1 << 47 and read(word, len(text)) == text), None)
