"""What every exporter owes: the same files for the same bundle, also over an earlier export, and no project from a damaged one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mobiprox_core import bundle as bundles
from mobiprox_core.configuration import EXACT_CONFIGURATION
from mobiprox_core.errors import MobiproxError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import Exporter, Options
from mobiprox_core.lowering import lower
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.plan import DeviceInfo

from .backend import LEVELS, Damped, network
from .contract import Contract, missing
from .offer import check_description, check_loads_lightly
from .strategy import calibrations


class ExporterContract(Contract):
    """Give the fixture `exporter`. The bundle is a small one with four levels; another is given by the fixture `bundle`."""

    kind = "exporter"
    subject = "exporter"

    @pytest.fixture
    def exporter(self) -> Exporter:
        missing("ExporterContract", "exporter", "your exporter")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def bundle(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_bundle(tmp_path_factory.mktemp("made") / "bundle")

    @pytest.fixture
    def fresh(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
        """Makes empty folders."""
        return lambda: tmp_path_factory.mktemp("exported")

    def test_it_describes_itself(self, exporter: Exporter, options: Options) -> None:
        check_description(exporter, options)

    def test_it_loads_lightly(self, exporter: Exporter) -> None:
        check_loads_lightly(exporter)

    def test_it_writes_into_the_folder_and_leaves_the_bundle_alone(
        self, exporter: Exporter, bundle: Path, fresh: Callable[[], Path]
    ) -> None:
        before, folder = contents(bundle), fresh()
        exporter.export(bundle, folder)
        assert contents(folder), "nothing was written"
        assert contents(bundle) == before, "the bundle was changed"

    def test_the_same_bundle_gives_the_same_files_also_over_an_earlier_export(
        self, exporter: Exporter, bundle: Path, fresh: Callable[[], Path]
    ) -> None:
        one, other = fresh(), fresh()
        exporter.export(bundle, one)
        first = contents(one)
        exporter.export(bundle, one)
        assert contents(one) == first, "another export into the same folder left other files"
        exporter.export(bundle, other)
        assert contents(other) == first, "an export into another folder has other files"

    def test_the_weights_are_in_it(self, exporter: Exporter, bundle: Path, fresh: Callable[[], Path]) -> None:
        folder = fresh()
        exporter.export(bundle, folder)
        written = sum(len(content) for content in contents(folder).values())
        assert written >= (bundle / bundles.WEIGHTS).stat().st_size / 4, "what was written cannot hold the weights"

    def test_a_damaged_bundle_is_refused(self, exporter: Exporter, bundle: Path, fresh: Callable[[], Path]) -> None:
        for name in bundles.FILES:
            for content in (b"", (bundle / name).read_bytes()[:-7]):
                broken = fresh() / "bundle"
                shutil.copytree(bundle, broken)
                (broken / name).write_bytes(content)
                with pytest.raises(MobiproxError):
                    exporter.export(broken, fresh())
        with pytest.raises(MobiproxError):
            exporter.export(fresh() / "nothing", fresh())


def write_bundle(folder: Path) -> Path:
    """A bundle of a small network on no device in particular: four levels, calibrated on nothing but chance."""
    plan = lower(network(), DeviceInfo(name="generic", driver="", runtime=""), {"damped": Damped()}, {}, LEVELS)
    points = tuple(OperatingPoint(c, float(i), 1.0 / (1 + i)) for i, c in enumerate((EXACT_CONFIGURATION, *LEVELS)))
    bundles.write(bundles.Bundle(plan=plan, backend=Choice("any", {}), points=points, calibration=calibrations(len(points))), folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
