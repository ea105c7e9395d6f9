"""The command line: exit codes, messages, and that starting it is cheap."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mobiprox_core.cli import main
from tests.fakes import distribution

HEAVY = {"numpy", "torch", "onnx", "onnx_ir", "pyopencl", "scipy", "sklearn"}


def commands(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


def mobiprox(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mobiprox_core", *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_help_has_an_example_that_names_the_command(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0
    example = done.stdout.split("Example:\n")[1].splitlines()[0].strip()
    assert example.startswith(" ".join(["mobiprox", *path]))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["plugins", "list"], ["check", "examples/digits/experiment.yaml"]], ids=" ".join
)
def test_starting_imports_nothing_heavy(arguments: list[str]) -> None:
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mobiprox_core", *arguments], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "click" in imported
    assert not imported & HEAVY


def test_help_comes_at_once() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert mobiprox("--help").returncode == 0
        return time.perf_counter() - started

    assert min(seconds() for _ in range(5)) < 0.3  # 0.05 s on an idle machine; the budget is 0.15 s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "error: no such command 'fly'"),
        (["run"], "error: missing argument 'FILE'"),
        (["check", "x.yaml", "--fast"], "error: no such option"),
        (["check", "no-such-file.yaml"], "error: no-such-file.yaml: cannot read the experiment file"),
        (["replay", "somewhere"], "error: missing option '--trace'"),
        (["replay", "somewhere", "--trace", "digits:strem"], "error: --trace: "),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(arguments: list[str], message: str) -> None:
    done = mobiprox(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith(message)
    assert second.startswith("  ")


def test_without_arguments_the_help_is_shown() -> None:
    done = mobiprox()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_the_version_is_that_of_the_package() -> None:
    import mobiprox_core

    assert mobiprox("--version").stdout.strip().endswith(mobiprox_core.__version__)


FAILING = """
import os
from mobiprox_core import errors

class Failing(Offered):
    def load(self, options, folder):
        name, text = options["how"], "what the plugin says"
        if name == "Ctrl-C":
            raise KeyboardInterrupt
        raise {**vars(errors), "RuntimeError": RuntimeError, "RecursionError": RecursionError}[name](text)

@hookimpl
def mobiprox_frontends():
    made = Failing("failing")
    made.options = {"type": "object", "properties": {"how": {"type": "string"}}, "required": ["how"]}
    return [made]

@hookimpl
def mobiprox_datasets():
    return [Offered("shapes")]

@hookimpl
def mobiprox_techniques():
    return [Offered("blur")]

@hookimpl
def mobiprox_heuristics():
    return [Offered("greedy")]

@hookimpl
def mobiprox_backends():
    return [Offered("abacus")]
"""

EXPERIMENT = """\
mobiprox: 1
model: {{frontend: failing, how: {how}}}
data:
  tune: {{dataset: shapes, split: tune}}
  test: {{dataset: shapes, split: test}}
techniques: [blur]
search: {{heuristic: greedy}}
backend: abacus
"""


@pytest.fixture
def failing(site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, made the current one, with plugins of which the frontend fails as `write` says."""
    distribution(site, "all_kinds", FAILING)
    folder = tmp_path_factory.mktemp("failing")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("UsageError", 2),
        ("ExperimentError", 3),
        ("DataError", 3),
        ("BundleError", 3),
        ("PluginError", 4),
        ("LoweringError", 5),
        ("UnsupportedOperator", 5),
        ("DeviceError", 6),
        ("TargetMissed", 7),
    ],
)
def test_the_exit_code_tells_the_class_of_an_error(failing: Path, how: str, code: int) -> None:
    (failing / "x.yaml").write_text(EXPERIMENT.format(how=how))
    for arguments in (["run", "x.yaml", "--out", "out"], ["check", "x.yaml", "--deep"]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == code
        assert done.stdout == ""
        assert "error: x.yaml:2: model: what the plugin says" in done.stderr


def test_a_bug_exits_1_and_its_traceback_is_saved(failing: Path) -> None:
    (failing / "x.yaml").write_text(EXPERIMENT.format(how="RuntimeError"))
    done = CliRunner().invoke(main, ["run", "x.yaml", "--out", "out"])
    assert done.exit_code == 1
    assert "Traceback" not in done.stderr
    assert "error: a bug in Mobiprox or in a plugin: RuntimeError: what the plugin says" in done.stderr
    saved = re.search(r"which is in (\S+)", done.stderr)
    assert saved is not None
    assert "Traceback" in Path(saved[1]).read_text()
    Path(saved[1]).unlink()


def test_an_interrupted_run_says_how_to_take_it_up(failing: Path) -> None:
    (failing / "x.yaml").write_text(EXPERIMENT.format(how="Ctrl-C"))
    done = CliRunner().invoke(main, ["run", "x.yaml", "--out", "out"])
    assert done.exit_code == 130
    assert "mobiprox run x.yaml --out out --resume" in done.stderr


def test_plugins_are_listed_without_being_loaded(site: Path) -> None:
    distribution(site, "approx_spline", "import no_such_package")
    distribution(site, "observer", "raise SystemExit(3)")
    done = CliRunner().invoke(main, ["plugins", "list"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "technique spline" in done.stdout
    assert "stranger-observer" in done.stdout
    assert not {name for name in sys.modules if name.startswith("stranger_")}
    listed = {p["name"]: p for p in json.loads(CliRunner().invoke(main, ["plugins", "list", "--json"]).stdout)["plugins"]}
    assert listed["approx_spline"]["offers"] == [{"kind": "technique", "name": "spline"}]
    assert listed["observer"]["offers"] == []


def test_the_options_of_a_plugin_are_shown(site: Path) -> None:
    code = """
    @hookimpl
    def mobiprox_techniques():
        made = Offered("spline", knobs={"stride": "how far apart"})
        made.options = {"type": "object", "properties": {"degree": {"type": "integer", "default": 3, "description": "of the polynomial"}}}
        return [made]
    """
    distribution(site, "approx_spline", code)
    for name in ("approx_spline", "stranger-approx-spline", "spline"):
        shown = CliRunner().invoke(main, ["plugins", "info", name]).stdout
        for word in ("made by a test", "degree", "integer", "3", "of the polynomial", "stride", "how far apart", "1.2.3"):
            assert word in shown
    wrong = CliRunner().invoke(main, ["plugins", "info", "splin"])
    assert wrong.exit_code == 4
    assert "did you mean 'spline'?" in wrong.stderr


DEVICES = """
from mobiprox_core.interfaces import DeviceReport

class Shelf(Offered):
    def devices(self):
        return [DeviceReport("shelf", 0, "abacus"), DeviceReport("shelf", 1, "slide rule", problem="is bent", mend="straighten it")]

class Broken(Offered):
    def devices(self):
        raise OSError("no driver")

@hookimpl
def mobiprox_backends():
    return [Shelf("shelf"), Broken("torn")]
"""


def test_devices_says_what_is_there_and_why_something_cannot_be_used(site: Path) -> None:
    distribution(site, "backends", DEVICES)
    done = CliRunner().invoke(main, ["devices"])
    assert done.exit_code == 0
    for words in ("abacus", "ready", "is bent", "straighten it", "stranger-backends", "no driver"):
        assert words in done.stdout
    found = json.loads(CliRunner().invoke(main, ["devices", "--json"]).stdout)["devices"]
    assert [device["problem"] is None for device in found] == [True, False, False]


def test_devices_says_what_measures_energy_here_and_how_well(site: Path) -> None:
    code = """
class Meter(Offered):
    quality, rate_hz = "by the sun", 0.5

    def problem(self):
        return "it is night"

@hookimpl
def mobiprox_meters():
    return [Meter("sundial")]
"""
    distribution(site, "backends", DEVICES)
    distribution(site, "meters", code)
    told = CliRunner().invoke(main, ["devices"]).stdout
    for words in ("sundial", "by the sun", "0.5", "cannot measure here", "sundial: it is night"):
        assert words in told
    [meter] = json.loads(CliRunner().invoke(main, ["devices", "--json"]).stdout)["meters"]
    assert meter == {"name": "sundial", "quality": "by the sun", "rate_hz": 0.5, "problem": "it is night"}


def test_no_usable_device_is_a_device_error(site: Path) -> None:
    assert CliRunner().invoke(main, ["devices"]).exit_code == 6
