"""The RAPL meter on a powercap tree that the test writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mobiprox_meter_rapl.rapl import Rapl

from mobiprox_core.errors import DeviceError


def zone(tree: Path, folder: str, name: str, energy_uj: int, span_uj: int = 262_143_328_850) -> Path:
    path = tree / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{span_uj}\n")
    return path / "energy_uj"


def test_energy_is_the_sum_of_packages_and_their_memory(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 500_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 7_000)
    other = zone(tmp_path, "intel-rapl:1", "package-1", 50)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 9)
    again = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    meter = Rapl(tmp_path)
    assert meter.problem() is None
    with meter.measure() as reading:
        package.write_text("1250000\n")
        cores.write_text("700000\n")
        memory.write_text("8000\n")
        other.write_text("1050\n")
        platform.write_text("999999\n")
        again.write_text("1250000\n")
    assert reading.energy_mj == pytest.approx(250 + 1 + 1)


def test_a_counter_that_wraps_round_is_followed(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=999_000, span_uj=1_000_000)
    with Rapl(tmp_path).measure() as reading:
        counter.write_text("4000\n")
    assert reading.energy_mj == pytest.approx(5)


def test_nothing_is_read_before_the_end(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with Rapl(tmp_path).measure() as reading:
        assert reading.energy_mj != reading.energy_mj
    assert reading.energy_mj == 0


@pytest.mark.parametrize("folder", ["nothing", "."])
def test_a_machine_without_counters_is_told_why(tmp_path: Path, folder: str) -> None:
    meter = Rapl(tmp_path / folder)
    problem = meter.problem()
    assert problem is not None
    assert str(tmp_path) in problem
    with pytest.raises(DeviceError, match="cannot measure here"), meter.measure():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_user_without_permission_is_told_how_to_get_it(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0).chmod(0)
    problem = Rapl(tmp_path).problem()
    assert problem is not None
    assert "chmod a+r" in problem


def test_a_counter_that_is_no_number_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0).write_text("nonsense")
    assert "intel-rapl:0" in str(Rapl(tmp_path).problem())
