"""The power rails in a perfetto trace, which is a protocol buffer. Fields of other kinds are passed over.

Numbers of fields: perfetto's trace_packet.proto and power_rails.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PACKET, POWER_RAILS = 1, 40
DESCRIPTOR, ENERGY = 1, 2
INDEX, NAME, SUBSYSTEM = 1, 2, 3
TIMESTAMP_MS, ENERGY_UWS = 2, 3


@dataclass(frozen=True, slots=True)
class Rails:
    """names: index -> SUBSYSTEM/NAME. readings: index -> (milliseconds since start, microwatt-seconds), in order of time."""

    names: Mapping[int, str]
    readings: Mapping[int, list[tuple[int, int]]]

    def mean_mw(self, index: int) -> float | None:
        """Mean power between first and last reading; None where there are no two."""
        readings = self.readings.get(index, [])
        if len(readings) < 2 or readings[-1][0] == readings[0][0]:
            return None
        return (readings[-1][1] - readings[0][1]) / (readings[-1][0] - readings[0][0])  # uWs per ms

    def rate_hz(self, index: int) -> float:
        """Readings a second."""
        readings = self.readings.get(index, [])
        return 1000 * (len(readings) - 1) / (readings[-1][0] - readings[0][0]) if len(readings) > 1 else 0.0


def read(content: bytes) -> Rails:
    """Raises ValueError for what is no trace."""
    names: dict[int, str] = {}
    readings: dict[int, set[tuple[int, int]]] = {}
    for packet in _all(content, PACKET):
        for rails in _all(packet, POWER_RAILS):
            for descriptor in _all(rails, DESCRIPTOR):
                index = _number(descriptor, INDEX)
                parts = (b"".join(_all(descriptor, part)).decode(errors="replace") for part in (SUBSYSTEM, NAME))
                names[index] = "/".join(filter(None, parts))
            for energy in _all(rails, ENERGY):
                reading = (_number(energy, TIMESTAMP_MS), _number(energy, ENERGY_UWS))
                readings.setdefault(_number(energy, INDEX), set()).add(reading)
    return Rails(names, {index: sorted(own) for index, own in readings.items()})


def _all(content: bytes, wanted: int) -> Iterator[bytes]:
    """The embedded messages or texts of a field."""
    return (value for number, value in _fields(content) if number == wanted and isinstance(value, bytes))


def _number(content: bytes, wanted: int) -> int:
    return next((value for number, value in _fields(content) if number == wanted and isinstance(value, int)), 0)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field: whole numbers, and the bytes of messages and texts."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(content, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(content, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no protocol buffer: wire type {kind}")
        if size > len(content) - at:
            raise ValueError("no whole protocol buffer: a field ends outside it")
        if kind == 2:
            yield key >> 3, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("no whole protocol buffer: a number does not end")
        value |= (content[at] & 0x7F) << shift
        shift += 7
        at += 1
        if content[at - 1] < 0x80:
            return value, at
