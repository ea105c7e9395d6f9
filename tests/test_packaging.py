"""Distributions: each is listed where it must be, installs alone, and its wheel holds all that it needs."""

from __future__ import annotations

import ast
import dataclasses
import email
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobiprox_core import plugins
from mobiprox_core.errors import PluginError
from mobiprox_core.plan import DeviceInfo

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def project(folder: Path) -> dict[str, Any]:
    return dict(tomllib.loads((folder / "pyproject.toml").read_text())["project"])


def test_every_plugin_is_among_the_development_requirements_and_in_the_extra_all() -> None:
    listed = re.findall(r"^-e \./plugins/(\w+)$", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert sorted(listed) == [folder.name for folder in PLUGINS]
    extra = [re.split(r"[><=]", requirement)[0] for requirement in project(ROOT)["optional-dependencies"]["all"]]
    assert sorted(extra) == sorted(project(folder)["name"] for folder in PLUGINS)


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_is_named_by_the_convention(folder: Path) -> None:
    about = project(folder)
    assert about["name"] == f"mobiprox-{folder.name.replace('_', '-')}"
    assert about["entry-points"]["mobiprox"] == {folder.name: f"mobiprox_{folder.name}.plugin"}
    assert any(requirement.startswith("mobiprox>=") for requirement in about["dependencies"])
    assert about["license"] == "Apache-2.0"
    assert (folder / "README.md").read_text().strip()
    [record] = [plugin for plugin in plugins.load([folder.name]).plugins if plugin.name == folder.name]
    assert record.problem is None, record.problem
    for kind, names in record.offers.items():
        prefix = plugins.KINDS[kind].prefix
        assert folder.name.startswith(f"{prefix}_")
        assert folder.name.removeprefix(f"{prefix}_") in names, "a name that is not installed is looked for under this convention"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_without_a_plugin_the_rest_works_and_an_experiment_says_what_to_install(folder: Path) -> None:
    registry = plugins.load([other.name for other in PLUGINS if other != folder])
    assert not registry.problems
    assert len(registry.versions) == len(PLUGINS) - 1
    for kind, names in plugins.load([folder.name]).plugins[0].offers.items():
        for name in names:
            with pytest.raises(PluginError) as caught:
                registry.get(kind, name)
            assert f"pip install {project(folder)['name']}" in str(caught.value.mend)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [ROOT, *PLUGINS], ids=["core", *(folder.name for folder in PLUGINS)])
def test_a_wheel_holds_all_files_of_its_package(folder: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=folder, check=True, capture_output=True
    )
    [wheel] = tmp_path.glob("*.whl")
    package = folder / ("mobiprox_core" if folder == ROOT else f"mobiprox_{folder.name}")
    wanted = {str(p.relative_to(folder)) for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert wanted <= names
        assert not {name for name in names if name.startswith("tests")}
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        assert email.message_from_bytes(archive.read(metadata))["License-Expression"] == "Apache-2.0"
        entry_points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
        assert ("mobiprox = mobiprox_core.cli:main" if folder == ROOT else f"[mobiprox]\n{folder.name} = ") in entry_points


def code_strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """String constants that a program could act upon: no docstrings, and no mends of errors, which may show examples."""
    for node in ast.iter_child_nodes(tree):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        mend = isinstance(node, ast.keyword) and node.arg == "mend"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node
        elif not docstring and not mend:
            yield from code_strings(node)


def test_core_knows_no_technique_by_name() -> None:
    """No code of core can depend on a technique: it imports none, and none of its names or texts is one.

    Prose may show one as an example. A field of DeviceInfo may have the name of one: what a device can do is a fact of the device.
    """
    names = {name for folder in PLUGINS if folder.name.startswith("approx_") for name in plugins.load([folder.name]).names("technique")}
    assert len(names) >= 3
    of_devices = {field.name for field in dataclasses.fields(DeviceInfo)}
    found = []
    for path in (ROOT / "mobiprox_core").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            identifiers = [getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None), getattr(node, "arg", None)]
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if (names - of_devices) & {i for i in identifiers if isinstance(i, str)} or any(
                i.startswith("mobiprox_approx") for i in imported
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
        for text in code_strings(tree):
            words = set(re.findall(r"\w+", str(text.value)))
            if words & names and str(text.value) not in of_devices:
                found.append(f"{path.relative_to(ROOT)}:{text.lineno}: {text.value!r}")
    for path in (ROOT / "mobiprox_core").rglob("*.cl"):
        code = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        if set(re.findall(r"\w+", code)) & (names - of_devices):
            found.append(str(path.relative_to(ROOT)))
    assert not found
