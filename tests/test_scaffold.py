"""`mobiprox plugins new`: what it writes passes its tests, installs, and is used in a run, without a line being edited."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mobiprox_core import plugins, scaffold
from mobiprox_core.cli import main
from mobiprox_core.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
KINDS = tuple(plugins.KINDS)


def mobiprox(*arguments: str, site: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != plugins.ALLOW_LIST}
    env |= {} if site is None else {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", "mobiprox_core", *arguments], capture_output=True, text=True, check=False, env=env, cwd=cwd
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> the folder of a new plugin of it, called my_KIND."""
    parent = tmp_path_factory.mktemp("new")
    return {kind: scaffold.create(kind, f"my_{kind}", parent) for kind in KINDS}


def test_there_is_a_template_for_every_kind() -> None:
    assert scaffold.kinds() == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_complete(kind: str, made: dict[str, Path]) -> None:
    files = {path.relative_to(made[kind]).as_posix() for path in made[kind].rglob("*") if path.is_file()}
    package = made[kind].name.replace("-", "_")
    wanted = {"pyproject.toml", "README.md", ".github/workflows/test.yml", "tests/test_contract.py", f"{package}/py.typed"}
    assert wanted | {f"{package}/__init__.py", f"{package}/plugin.py"} <= files
    if kind == "technique":
        assert {f"{package}/reference.py", f"{package}/kernels/fill.cl"} <= files
    for file in files:
        left = re.findall(r"@[A-Z]+@", (made[kind] / file).read_text())
        assert not left, f"{file}: {left}"


def test_new_plugins_are_clean(made: dict[str, Path]) -> None:
    folders = [str(folder) for folder in made.values()]
    ruff = [sys.executable, "-m", "ruff", "--config", str(ROOT / "pyproject.toml")]
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):  # which imports are third-party depends on where it runs
        done = subprocess.run([*ruff[:3], command[0], *ruff[3:], *command[1:], *folders], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.opencl
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_keeps_its_contract(kind: str, made: dict[str, Path]) -> None:
    done = mobiprox("plugins", "test", str(made[kind]), "-k", "not kernels or even")  # kernels on one graph: they take their time
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "xfailed" not in done.stdout


@pytest.mark.slow
@pytest.mark.opencl
def test_new_plugins_of_every_kind_are_used_in_a_run(made: dict[str, Path], tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from small import small_network

    site = tmp_path / "site"
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    subprocess.run([*PIP, "install", *offline, *map(str, made.values())], check=True)
    listed = {plugin["name"]: plugin for plugin in json.loads(mobiprox("plugins", "list", "--json", site=site).stdout)["plugins"]}
    for kind in KINDS:
        assert listed[f"{plugins.KINDS[kind].prefix}_my_{kind}"]["offers"] == [{"kind": kind, "name": f"my_{kind}"}]

    onnx.save(small_network(np.random.default_rng(3)), tmp_path / "net.json", format="json")
    content: dict[str, Any] = {
        "mobiprox": 1,
        "model": {"frontend": "my_frontend", "path": "net.json"},
        "data": {"tune": {"dataset": "my_dataset", "split": "tune"}, "test": {"dataset": "my_dataset", "split": "test"}},
        "qos": "my_qos",
        "techniques": [{"my_technique": {"strides": [2]}}],
        "search": {"heuristic": "my_heuristic", "max_loss_pp": 100, "levels": 3},
        "backend": "my_backend",
        "strategy": "my_strategy",
        "trace": {"dataset": "my_dataset", "split": "stream"},
        "energy": "my_meter",
    }
    if "executor" in KINDS:
        content["executor"] = "my_executor"
    (tmp_path / "experiment.yaml").write_text(json.dumps(content))
    done = mobiprox("run", "experiment.yaml", "--out", "out", "--json", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {made[kind].name for kind in KINDS if kind not in ("exporter", "executor")} <= set(result["provenance"]["plugins"])
    settings = {setting for level in result["levels"] for setting in level["settings"].values()}
    assert settings == {"my_technique(stride=2)"}
    assert result["levels"][0]["energy_mj"] > 0
    exported = mobiprox("export", "out/bundle", "--my_exporter", "exported", site=site, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "exported" / "README.md").is_file()


@pytest.mark.parametrize(
    ("kind", "name", "mend"),
    [("tecnique", "x", "did you mean 'technique'?"), ("colour", "x", "kinds: frontend"), ("technique", "Low-Rank", "small letters")],
)
def test_what_cannot_be_made_is_refused_with_a_mend(tmp_path: Path, kind: str, name: str, mend: str) -> None:
    done = CliRunner().invoke(main, ["plugins", "new", kind, name, "--in", str(tmp_path)])
    assert done.exit_code == 2
    assert mend in done.stderr


def test_nothing_is_written_over(tmp_path: Path) -> None:
    scaffold.create("meter", "mine", tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        scaffold.create("meter", "mine", tmp_path)


# --------------------------------------------------------------------------------------------------------------------- plugins test


def test_a_broken_promise_of_a_folder_is_found(tmp_path: Path) -> None:
    folder = scaffold.create("strategy", "hasty", tmp_path)
    source = folder / "mobiprox_strategy_hasty" / "strategy.py"
    source.write_text(source.read_text().replace("min(state + 1, self.levels - 1)", "state + 1"))
    done = mobiprox("plugins", "test", str(folder), "-k", "levels", "-x")
    assert done.returncode == 4
    assert "test_it_stays_within_the_levels" in done.stdout


def test_a_file_that_is_missing_from_the_wheel_is_found(tmp_path: Path) -> None:
    folder = scaffold.create("technique", "hollow", tmp_path)
    project = folder / "pyproject.toml"
    project.write_text(project.read_text() + '\n[tool.hatch.build]\nexclude = ["*.cl"]\n')
    done = mobiprox("plugins", "test", str(folder), "-k", "test_all_files")
    assert done.returncode == 4
    assert "not in the wheel: mobiprox_approx_hollow/kernels/fill.cl" in done.stdout


def test_an_installed_plugin_is_tested_by_its_name() -> None:
    done = mobiprox("plugins", "test", "rapl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_plugin_that_needs_options_is_given_them() -> None:
    assert "--options '{rules: ...}'" in mobiprox("plugins", "test", "rules", "-rs", "-k", "RulesStrategy").stdout
    done = mobiprox("plugins", "test", "frontend_onnx", "--options", "{path: examples/digits/digits.onnx}", "-k", "core_can_run", cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("perforaton",), 4, "did you mean 'perforation'?"),
        (("docs",), 2, "has no pyproject.toml"),
        (("rapl", "--options", "3"), 2, "no mapping"),
    ],
)
def test_what_cannot_be_tested_is_said(arguments: tuple[str, ...], code: int, what: str) -> None:
    done = mobiprox("plugins", "test", *arguments, cwd=ROOT)
    assert done.returncode == code
    assert what in done.stderr
