"""Processors that PoCL's compiler does not know: the name in the device's record, on a record made up here."""

from __future__ import annotations

import ctypes
import platform
import sys

import pytest
from mobiprox_backend_opencl.unknown_cpu import NAMES, RECORD_BYTES, name_processor, stand_in

ZEN5 = frozenset(
    [
        "sse4_2",
        "ssse3",
        "popcnt",
        "cx16",
        "sse4a",
        "avx2",
        "bmi1",
        "bmi2",
        "f16c",
        "abm",
        "movbe",
        "fma",
        "vaes",
        "vpclmulqdq",
        "clwb",
        "rdpid",
        "avx512f",
        "avx512bw",
    ]
)

only_where_it_matters = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="PoCL of pip is for x86-64 Linux"
)


def record(texts: dict[int, bytes]) -> tuple[ctypes.Array[ctypes.c_uint64], list[ctypes.Array[ctypes.c_char]]]:
    """Words, mostly no addresses at all, and pointers to texts at some places; the texts must be kept."""
    words = (ctypes.c_uint64 * (RECORD_BYTES // 8))(*(0xDEAD_0000_0000 + 8 * i for i in range(RECORD_BYTES // 8)))
    kept = [ctypes.create_string_buffer(text) for text in texts.values()]
    for place, text in zip(texts, kept, strict=True):
        words[place] = ctypes.addressof(text)
    return words, kept


@only_where_it_matters
def test_the_one_unknown_name_is_replaced_and_nothing_else() -> None:
    words, kept = record({3: b"pthread", 80: b"generic", 90: b"generic-later"})
    before = list(words)
    assert name_processor(ctypes.addressof(words), ZEN5) == "znver3"
    assert [i for i, (old, new) in enumerate(zip(before, words, strict=True)) if old != new] == [80]
    assert ctypes.string_at(words[80]) == b"znver3"
    assert kept[1].value == b"generic"


@only_where_it_matters
def test_a_record_with_a_known_name_stays_as_it_is() -> None:
    words, _kept = record({80: b"znver4"})
    before = list(words)
    assert name_processor(ctypes.addressof(words), ZEN5) is None
    assert list(words) == before


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (ZEN5, "znver3"),
        (ZEN5 - {"sse4a"} | {"avx512cd", "avx512dq", "avx512vl"}, "x86-64-v4"),
        (ZEN5 - {"sse4a"}, "x86-64-v3"),
        (frozenset({"sse4_2", "ssse3", "popcnt", "cx16"}), "x86-64-v2"),
        (frozenset(), "x86-64"),
    ],
)
def test_a_stand_in_does_no_more_than_the_processor(flags: frozenset[str], name: str) -> None:
    assert stand_in(flags) == name
    assert dict(NAMES)[name] <= flags
