"""The rails meter on traces in perfetto's format, through a shell that stands for a phone's."""

from __future__ import annotations

import base64
import time
from types import SimpleNamespace

import pytest
from mobiprox_meter_rails.rails import Rails
from mobiprox_meter_rails.trace import read

from mobiprox_core.errors import DeviceError
from mobiprox_core.interfaces import Meter
from mobiprox_core.testing import MeterContract


class TestTheRailsOfThisMachine(MeterContract):
    @pytest.fixture
    def meter(self) -> Meter:
        return Rails()


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def trace(readings: dict[int, list[tuple[int, int]]], names: dict[int, tuple[str, str]]) -> bytes:
    """As perfetto writes it: packets with a timestamp and a sequence; rails are described once; other packets stand between."""
    described = b"".join(
        field(1, field(1, i) + field(2, name.encode()) + field(3, part.encode()) + field(4, 1023)) for i, (part, name) in names.items()
    )
    packets = field(1, field(8, 10**15) + field(40, described) + field(10, 3))
    packets += field(1, field(38, field(1, 3_000_000) + field(3, 412_000)))  # battery counters
    packets += field(1, varint(5 << 3 | 1) + bytes(8) + varint(7 << 3 | 5) + bytes(4))  # fixed64, fixed32
    for index, own in readings.items():
        for milliseconds, energy in own:
            packets += field(
                1, field(8, milliseconds * 10**6) + field(40, field(2, field(1, index) + field(2, milliseconds) + field(3, energy)))
            )
    return packets


NAMES = {0: ("system", "VSYS_PWR_DISPLAY"), 1: ("CPU", "S2M_VDD_CPUCL2"), 7: ("GPU", "S8M_VDD_G3D")}
READINGS = {
    0: [(100_000, 5_000_000), (100_250, 5_075_000), (100_500, 5_150_000)],  # 300 mW
    1: [(100_000, 90_000_000), (100_500, 90_600_000)],  # 1200 mW
    7: [(100_500, 7_250_000), (100_000, 7_000_000)],  # 500 mW, out of order
}


def test_rails_are_read_from_a_trace() -> None:
    found = read(trace(READINGS, NAMES))
    assert found.names == {0: "system/VSYS_PWR_DISPLAY", 1: "CPU/S2M_VDD_CPUCL2", 7: "GPU/S8M_VDD_G3D"}
    assert [found.mean_mw(index) for index in (0, 1, 7, 5)] == [300, 1200, 500, None]
    assert found.rate_hz(0) == 4


def test_what_is_no_trace_is_refused() -> None:
    whole = trace(READINGS, NAMES)
    for damaged in (whole[:-3], b"\xff" * 20, b"\x0b", whole + b"\x0a"):
        with pytest.raises(ValueError, match=r"no .*protocol buffer"):
            read(damaged)
    assert read(b"").names == {}


def phone(content: bytes, has_perfetto: bool = True, charger: str = "") -> SimpleNamespace:
    said: list[str] = []

    def shell(script: str) -> str:
        said.append(script)
        if script.startswith("command -v"):
            return "/system/bin/perfetto\n" if has_perfetto else ""
        if "dumpsys battery" in script:
            return charger
        if "--background" in script:
            return "" if not has_perfetto else "4711\n"
        if "base64" in script:
            assert "kill -INT 4711" in script
            return base64.encodebytes(content).decode() if content else "base64: mobiprox.pftrace: No such file or directory\n"
        return ""

    return SimpleNamespace(shell=shell, said=said)


def test_energy_is_the_sum_of_the_chosen_rails() -> None:
    device = phone(trace(READINGS, NAMES), charger="USB\n")
    for rails, milliwatts in ((["*"], 2000), (["GPU"], 500), (["S2M*", "GPU"], 1700)):
        meter = Rails().on({"rails": rails}, device)  # type: ignore[arg-type]
        began = time.perf_counter()
        with meter.measure() as reading:
            time.sleep(0.05)
        assert milliwatts * 0.05 <= reading.energy_mj <= milliwatts * (time.perf_counter() - began)
        assert reading.about["charging"] == "USB"
        assert reading.about["rate_hz"] > 0
    assert "collect_power_rails: true" in "".join(device.said)
    assert any("rm -f /data/misc/perfetto-traces/mobiprox.pftrace" in script for script in device.said)


@pytest.mark.parametrize(
    ("device", "options", "why"),
    [
        (SimpleNamespace(), {}, "the network runs on this machine"),
        (phone(b"", has_perfetto=False), {}, "has no perfetto"),
        (phone(b""), {}, "No such file or directory; on Android 9 and 10 switch it on"),
        (phone(trace({}, {})), {}, "have no counters"),
        (phone(trace(READINGS, NAMES)), {"rails": ["TPU"]}, "none of its rails is called TPU; there are: CPU/S2M_VDD_CPUCL2, GPU"),
        (phone(trace(READINGS, NAMES)), {}, None),
    ],
)
def test_it_says_why_it_cannot_measure(device: SimpleNamespace, options: dict[str, list[str]], why: str | None) -> None:
    problem = Rails().on(options, device).problem()  # type: ignore[arg-type]
    assert problem is None if why is None else why in str(problem)


def test_rails_that_were_counted_once_give_no_figure() -> None:
    once = {index: readings[:1] for index, readings in READINGS.items()}
    with Rails().on({}, phone(trace(once, NAMES))).measure() as reading:  # type: ignore[arg-type]
        pass
    assert reading.energy_mj != reading.energy_mj
    assert "only 0 of 3 rails" in reading.about["problem"]


def test_it_refuses_to_measure_without_a_phone() -> None:
    with pytest.raises(DeviceError, match="measures phones"), Rails().measure():
        pass
