"""What every distribution of a plugin owes: it loads lightly, says what it is and what it needs, and holds all its files."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from mobiprox_core import doctor, hookspecs, plugins
from mobiprox_core.plugins import Plugin

from .contract import Contract, missing


class DistributionContract(Contract):
    """Give the fixture `plugin`, the name of the entry point; it is installed. `source` is the folder of its project, if there is one.

    `mobiprox plugins test FOLDER` builds a wheel and installs it aside first, so that what is tested is what users get.
    """

    @pytest.fixture
    def plugin(self) -> str:
        missing("DistributionContract", "plugin", "the name of your entry point")

    @pytest.fixture
    def source(self) -> Path | None:
        return None

    @pytest.fixture
    def record(self, plugin: str) -> Plugin:
        return next(record for record in plugins.survey([plugin]) if record.name == plugin)

    def test_nothing_is_wrong_with_it(self, record: Plugin) -> None:
        """It loads, quickly; hooks are spelt right; requirements are met; options are schemas; it offers what its name promises."""
        findings, _ = doctor.examine([record])
        wrong = [f"{finding.what}; {finding.mend}" for finding in findings if finding.grade == "error" and "device" not in finding.what]
        assert not wrong, "\n".join(wrong)

    def test_it_says_which_interface_it_speaks(self, record: Plugin) -> None:
        newest = hookspecs.INTERFACES[-1]
        assert record.interfaces, f"let it depend on 'mobiprox[interface{newest}]': docs/stability.md"

    def test_what_it_offers_is_told_without_loading_it(self, record: Plugin) -> None:
        loaded = next(p for p in plugins.load([record.name]).plugins if p.name == record.name)
        for kind, names in loaded.offers.items():
            hidden = set(names) - set(record.offers.get(kind, ()))
            assert not hidden, (
                f"'mobiprox plugins list' cannot know of the {kind} {', '.join(sorted(hidden))}: declare it in [project.entry-points.\"mobiprox.{kind}\"]"
            )

    def test_its_metadata_is_complete(self, record: Plugin) -> None:
        about = importlib.metadata.metadata(record.distribution)
        assert record.summary, "no description"
        assert about["Requires-Python"], "no requires-python"
        assert about["License-Expression"] or about["License"], "no license"
        assert about["Description-Content-Type"], "no readme"

    def test_all_files_of_its_package_are_installed(self, record: Plugin, source: Path | None) -> None:
        """Kernels, C sources, py.typed: whatever lies in the package's folder."""
        if source is None:
            pytest.skip("its source is not at hand")
        installed = importlib.metadata.distribution(record.distribution)
        held = {str(file) for file in installed.files or ()}
        packages = {name.split("/")[0] for name in held if name.endswith("/__init__.py")}
        wanted = {
            path.relative_to(base).as_posix()
            for package in packages
            for base in (source, source / "src")
            for path in (base / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        missing = sorted(wanted - {name.replace(os.sep, "/") for name in held})
        assert not missing, f"not in the wheel: {', '.join(missing)}"
