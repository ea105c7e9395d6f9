"""What is wrong with installed plugins is found, named, and its mend is said; and what a plugin may rely on is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pluggy
import pytest

from mobiprox_core import __version__, doctor, hookspecs, plugins
from mobiprox_core.errors import PluginError
from tests.fakes import distribution, offering

TECHNIQUE = offering("mobiprox_techniques", "spline")
BACKEND = """
from types import SimpleNamespace
from mobiprox_core.interfaces import DeviceReport
made = Offered("shelf", devices=lambda: [DeviceReport("shelf", 0, "abacus", problem={problem}, mend={mend})])

@hookimpl
def mobiprox_backends():
    return [made]
"""


def examined(site: Path, *names: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings of `mobiprox plugins doctor` on these plugins alone; what names no interface is not told of again."""
    env = os.environ | {"PYTHONPATH": str(site), plugins.ALLOW_LIST: ",".join(names)}
    done = subprocess.run(
        [sys.executable, "-m", "mobiprox_core", "plugins", "doctor", "--json"], capture_output=True, text=True, check=False, env=env
    )
    assert "Traceback" not in done.stderr, done.stderr
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, [f for f in findings if "which plugin interface" not in f["what"] and "no backend" not in f["what"]]


SICK = {
    "an import that fails": ("import no_such_package", "No module named 'no_such_package'", "pip uninstall stranger-approx-spline"),
    "a crash": ("import os; os.abort()", "signal SIGABRT", "pip uninstall"),
    "an exit": ("import os; os._exit(7)", "exit code 7", "pip uninstall"),
    "a misspelt hook": ("@hookimpl\ndef mobiprox_technique():\n    return []", "did it mean 'mobiprox_techniques'?", "upgrade"),
    "a heavy import": ("import torch\n" + TECHNIQUE, "because it imports torch (", "inside the methods that need it"),
    "work at import": (
        "import time\nstarted = time.process_time()\nwhile time.process_time() < started + 0.3: pass\n" + TECHNIQUE,
        "to load",
        "do less at import",
    ),
    "another name than promised": (
        offering("mobiprox_techniques", "curve"),
        "is called as one that offers the technique 'spline', but does not",
        "call its entry point 'approx_curve'",
    ),
    "options that are no schema": (
        TECHNIQUE.replace("('spline')", "('spline', options={'properties': {'x': {'type': 'colour'}}})"),
        "options that are no JSON Schema",
        "pip uninstall",
    ),
}


@pytest.mark.parametrize(("code", "what", "mend"), SICK.values(), ids=SICK)
def test_a_sick_plugin_is_named_with_what_mends_it(tmp_path: Path, code: str, what: str, mend: str) -> None:
    distribution(tmp_path, "approx_spline", code)
    distribution(tmp_path, "approx_sound", offering("mobiprox_techniques", "sound"))
    exit_code, findings = examined(tmp_path, "approx_spline", "approx_sound")
    assert exit_code == 4
    [finding] = findings
    assert (finding["grade"], finding["plugin"]) == ("error", "approx_spline")
    assert what in finding["what"]
    assert mend in finding["mend"]
    assert "stranger-approx-spline" in finding["what"]


def test_what_is_well_is_said_to_be(tmp_path: Path) -> None:
    distribution(tmp_path, "approx_spline", TECHNIQUE)
    assert examined(tmp_path, "approx_spline") == (0, [])


def test_a_plugin_that_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "approx_spline", "while True: pass")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "PATIENCE_S", 1.0)
    [plugin] = [plugins.Plugin("approx_spline", "stranger-approx-spline", "1", offers=plugins.promised("approx_spline"))]
    findings, _ = doctor.examine([plugin])
    assert "did not come to an end within 1 s" in findings[0].what


def test_requirements_that_are_not_met_are_named_with_who_else_asks(tmp_path: Path) -> None:
    for entry, needs in (
        ("approx_one", f"click<{version('click').split('.')[0]}"),
        ("approx_two", "click>=1"),
        ("approx_three", "no-such-package>=2"),
    ):
        distribution(tmp_path, entry, offering("mobiprox_techniques", entry.removeprefix("approx_")), needs=(needs,))
    exit_code, findings = examined(tmp_path, "approx_one", "approx_two", "approx_three")
    assert exit_code == 4
    clash, missing = sorted((f["what"] for f in findings), key=lambda what: "not installed" in what)
    assert "stranger-approx-one needs click<" in clash
    assert "stranger-approx-two needs click>=1" in clash
    assert "stranger-approx-three needs no-such-package>=2, but no-such-package is not installed" in missing


def test_names_that_two_plugins_have_are_told_with_both(tmp_path: Path) -> None:
    distribution(tmp_path, "approx_spline", TECHNIQUE)
    distribution(tmp_path, "approx_curve", offering("mobiprox_techniques", "curve", "spline"))
    _, [offers, untold] = examined(tmp_path, "approx_spline", "approx_curve")
    assert untold["grade"] == "note"
    assert "both offer the technique 'spline'" in offers["what"]
    distribution(tmp_path, "approx_spline", TECHNIQUE, dist="another")
    _, [entries] = examined(tmp_path, "approx_spline")
    assert "plugin 'approx_spline' (another)" in entries["what"]
    assert "pip uninstall stranger-approx-spline" in entries["mend"]


def test_what_a_plugin_offers_beside_its_name_is_declared_in_its_metadata(site: Path) -> None:
    distribution(site, "approx_spline", offering("mobiprox_techniques", "spline", "curve"))
    with (site / "stranger_approx_spline-1.2.3.dist-info" / "entry_points.txt").open("a") as file:
        file.write("[mobiprox.technique]\ncurve = stranger_approx_spline_module\n")
    [plugin] = plugins.survey()
    assert plugin.offers == {"technique": ("curve", "spline")}


def test_without_any_usable_device_it_is_an_error_and_else_a_note(tmp_path: Path) -> None:
    distribution(tmp_path, "backend_shelf", BACKEND.format(problem="'is bent'", mend="'straighten it'"))
    distribution(tmp_path, "backend_sound", BACKEND.replace("shelf", "sound").format(problem=None, mend=None))
    exit_code, [error] = examined(tmp_path, "backend_shelf")
    assert exit_code == 4
    assert "'shelf' cannot use abacus: is bent" in error["what"]
    assert error["mend"] == "straighten it"
    exit_code, [note] = examined(tmp_path, "backend_shelf", "backend_sound")
    assert (exit_code, note["grade"]) == (0, "note")


# -------------------------------------------------------------------------------------------------------------------------- interface


def test_a_plugin_of_another_interface_is_refused_before_it_is_imported(site: Path) -> None:
    distribution(site, "approx_spline", "raise SystemExit", needs=("mobiprox[interface99]>=7",))
    [plugin] = plugins.survey()
    assert plugin.interfaces == (99,)
    with pytest.raises(PluginError, match=r"speaks plugin interface 99, this Mobiprox speaks 1") as caught:
        plugins.load().get("technique", "spline")
    assert "pip install --upgrade mobiprox" in str(caught.value)


def test_a_plugin_that_speaks_several_interfaces_is_used_with_any_of_them(site: Path) -> None:
    distribution(site, "approx_spline", TECHNIQUE, needs=("numpy>=1", "mobiprox[interface1,interface2]>=0.1"))
    assert plugins.load().get("technique", "spline").name == "spline"


def test_what_is_deprecated_still_works_and_is_told_with_the_version_that_drops_it(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = hookspecs.Deprecated("the hook 'mobiprox_old'", since="0.3", instead="implement 'mobiprox_techniques'")
    older = types.ModuleType("older")
    vars(older).update({name: value for name, value in vars(hookspecs).items() if not name.startswith("__")})

    def mobiprox_old() -> None: ...

    older.mobiprox_old = hookspecs.hook("0.1", told)(mobiprox_old)  # type: ignore[attr-defined]
    monkeypatch.setattr(plugins, "hookspecs", older)
    distribution(site, "approx_spline", TECHNIQUE + "@hookimpl\ndef mobiprox_old():\n    pass\n")
    [plugin] = plugins.load().plugins
    assert plugin.problem is None
    assert plugin.hooks == ("mobiprox_old", "mobiprox_techniques")
    assert plugin.warnings == ("the hook 'mobiprox_old' is deprecated since 0.3 and gone in 0.5; implement 'mobiprox_techniques'",)


def test_every_hook_says_since_when_it_is_there_and_none_has_outlived_its_grace() -> None:
    now = tuple(map(int, __version__.split(".")[:2]))
    found = [value for value in vars(hookspecs).values() if hasattr(value, "mobiprox_spec")]
    assert found
    for specified in found:
        assert tuple(map(int, specified.since.split("."))) <= now, f"{specified.__name__} is marked with @hook(since)"
        mark: pluggy.HookspecOpts = specified.mobiprox_spec
        gone = [mark["warn_on_impl"], *(mark["warn_on_impl_args"] or {}).values()]
        assert all(warning.until > now for warning in gone if isinstance(warning, hookspecs.Deprecated)), specified.__name__


def test_core_provides_the_extras_that_plugins_pin() -> None:
    extras = plugins.metadata.metadata("mobiprox").get_all("Provides-Extra")
    assert {f"interface{number}" for number in hookspecs.INTERFACES} == {extra for extra in extras if extra.startswith("interface")}


def test_the_page_on_stability_names_every_hook_with_its_version() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "stability.md").read_text()
    for name, specified in vars(hookspecs).items():
        if hasattr(specified, "mobiprox_spec"):
            [row] = [line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line]
            assert row.rstrip(" |").endswith(specified.since)
    for number in hookspecs.INTERFACES:
        assert f"mobiprox[interface{number}]" in page
