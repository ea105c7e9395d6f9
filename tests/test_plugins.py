"""Loading plugins: what is found, and that one that is broken is named while the others work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobiprox_core import plugins
from mobiprox_core.errors import PluginError
from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import Progress
from tests.fakes import distribution, offering


@pytest.mark.parametrize("kind", plugins.KINDS.values(), ids=str)
def test_what_a_plugin_offers_is_found_by_kind_and_name(site: Path, kind: plugins.Kind) -> None:
    distribution(site, "mine", offering(kind.hook, "spline"))
    registry = plugins.load()
    assert registry.get(kind.name, "spline").name == "spline"
    assert registry.names(kind.name) == ("spline",)
    assert registry.provider(kind.name, "spline").distribution == "stranger-mine"
    assert registry.versions == {"mine": "1.2.3"}
    assert [other for other in plugins.KINDS if registry.names(other)] == [kind.name]


def test_plugins_are_loaded_in_name_order(site: Path) -> None:
    for name in ("c", "a", "b"):
        distribution(site, name, offering("mobiprox_techniques", f"technique_{name}"))
    assert [plugin.name for plugin in plugins.load().plugins] == ["a", "b", "c"]


BROKEN = {
    "an import that fails": ("import no_such_package", "No module named 'no_such_package'", ""),
    "a syntax error": ("def (:", "SyntaxError", ""),
    "an exit while importing": ("raise SystemExit(3)", "SystemExit", ""),
    "a misspelt hook": (
        "@hookimpl\ndef mobiprox_technique():\n    return []",
        "unknown hook 'mobiprox_technique'",
        "did it mean 'mobiprox_techniques'?",
    ),
    "a hook with an unknown argument": ("@hookimpl\ndef mobiprox_techniques(color):\n    return []", "color", ""),
    "no hook at all": ("def mobiprox_techniques():\n    return []", "implements no hook", "@hookimpl"),
    "a hook that raises": ("@hookimpl\ndef mobiprox_techniques():\n    return [1 / 0]", "ZeroDivisionError", "mobiprox_techniques"),
    "a hook that returns no list": ("@hookimpl\ndef mobiprox_techniques():\n    return 7", "TypeError", ""),
    "an offer without a name": ("@hookimpl\ndef mobiprox_techniques():\n    return [object()]", "without a valid name", ""),
    "one name twice": (offering("mobiprox_techniques", "twin", "twin"), "'twin' twice", ""),
}


@pytest.mark.parametrize(("code", "what", "more"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_by_its_distribution_and_the_rest_works(site: Path, code: str, what: str, more: str) -> None:
    distribution(site, "good", offering("mobiprox_techniques", "spline"))
    distribution(site, "bad", code)
    registry = plugins.load()
    assert registry.get("technique", "spline").name == "spline"
    assert list(registry.versions) == ["good"]
    [problem] = registry.problems
    assert "plugin 'bad' (stranger-bad)" in problem.what
    assert what in problem.what
    assert more in str(problem)
    assert "pip uninstall stranger-bad" in str(problem.mend)
    assert next(p for p in registry.plugins if p.name == "bad").offers == {}


def test_a_name_that_two_plugins_offer_cannot_be_used_and_both_are_named(site: Path) -> None:
    distribution(site, "one", offering("mobiprox_techniques", "spline", "one_alone"))
    distribution(site, "two", offering("mobiprox_techniques", "spline"))
    distribution(site, "three", offering("mobiprox_strategies", "spline"))
    registry = plugins.load()
    with pytest.raises(PluginError) as caught:
        registry.get("technique", "spline")
    for name in ("stranger-one", "stranger-two"):
        assert name in str(caught.value)
        assert f"pip uninstall {name}" in str(caught.value.mend)
    assert registry.get("technique", "one_alone").name == "one_alone"
    assert registry.get("strategy", "spline").name == "spline"
    assert len(registry.problems) == 1


def test_two_distributions_with_one_plugin_name_are_a_problem_of_the_second(site: Path) -> None:
    distribution(site, "same", offering("mobiprox_techniques", "spline"), dist="first")
    distribution(site, "same", offering("mobiprox_techniques", "curve"), dist="second")
    registry = plugins.load()
    assert registry.names("technique") == ("spline",)
    assert "first" in str(registry.problems[0])
    assert "second" in str(registry.problems[0])


def test_a_misspelt_name_suggests_the_right_one(site: Path) -> None:
    distribution(site, "mine", offering("mobiprox_techniques", "perforation", "spline"))
    with pytest.raises(PluginError, match="no technique is called 'perforaton'") as caught:
        plugins.load().get("technique", "perforaton")
    assert caught.value.mend == "did you mean 'perforation'?"


@pytest.mark.parametrize(
    ("kind", "name", "package"),
    [
        ("technique", "low_rank", "mobiprox-approx-low-rank"),
        ("frontend", "tflite", "mobiprox-frontend-tflite"),
        ("heuristic", "nsga2", "mobiprox-search-nsga2"),
        ("backend", "vulkan", "mobiprox-backend-vulkan"),
        ("strategy", "kalman", "mobiprox-strategy-kalman"),
        ("dataset", "mnist", "mobiprox-data-mnist"),
        ("meter", "wattmeter", "mobiprox-meter-wattmeter"),
    ],
)
def test_a_name_that_is_not_installed_says_which_distribution_to_install(site: Path, kind: str, name: str, package: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugins.load().get(kind, name)
    assert f"pip install {package}" in str(caught.value.mend)


def test_a_name_that_a_broken_plugin_may_offer_blames_that_plugin(site: Path) -> None:
    distribution(site, "approx_spline", "import no_such_package")
    with pytest.raises(PluginError, match=r"stranger-approx-spline.*no_such_package"):
        plugins.load().get("technique", "spline")


def test_the_environment_restricts_what_is_loaded(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        distribution(site, name, offering("mobiprox_techniques", f"technique_{name}"))
    distribution(site, "bad", "import no_such_package")
    monkeypatch.setenv(plugins.ALLOW_LIST, " two ,")
    registry = plugins.load()
    assert registry.names("technique") == ("technique_two",)
    assert not registry.problems
    monkeypatch.setenv(plugins.ALLOW_LIST, "")
    assert plugins.load().plugins == ()


def test_what_the_environment_leaves_out_is_not_said_to_be_missing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spline", "splines"):
        distribution(site, f"approx_{name}", offering("mobiprox_techniques", name))
    monkeypatch.setenv(plugins.ALLOW_LIST, "approx_splines")
    with pytest.raises(PluginError) as caught:
        plugins.load().get("technique", "spline")
    assert "plugin 'approx_spline' (stranger-approx-spline) is installed, but left out by MOBIPROX_PLUGINS" in caught.value.what
    assert caught.value.mend == "add 'approx_spline' to MOBIPROX_PLUGINS, or unset it"
    with pytest.raises(PluginError) as other:
        plugins.load().get("strategy", "spline")
    assert "pip install mobiprox-strategy-spline" in str(other.value.mend)


def test_a_plugin_that_the_environment_names_but_is_not_there_is_reported(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(site, "strategy_spline", offering("mobiprox_strategies", "spline"))
    monkeypatch.setenv(plugins.ALLOW_LIST, "strategy_splin")
    [problem] = plugins.load().problems
    assert "MOBIPROX_PLUGINS names 'strategy_splin'" in problem.what
    assert problem.mend == "did you mean 'strategy_spline'?"


def test_observers_are_told_and_one_that_raises_is_not_asked_again(site: Path) -> None:
    distribution(site, "quiet", "seen = []\n@hookimpl\ndef mobiprox_progress(progress):\n    seen.append(progress.done)")
    distribution(site, "loud", "calls = []\n@hookimpl\ndef mobiprox_progress():\n    calls.append(1)\n    raise ValueError('too loud')")
    registry = plugins.load()
    for done in (1, 2):
        registry.notify("mobiprox_progress", progress=Progress("search", done, 2))
    assert sys.modules["stranger_quiet_module"].seen == [1, 2]
    assert sys.modules["stranger_loud_module"].calls == [1]
    [problem] = registry.problems
    assert "stranger-loud" in problem.what
    assert "too loud" in problem.what


def test_fifty_plugins_are_loaded_in_a_moment(site: Path) -> None:
    for index in range(50):
        distribution(site, f"plugin_{index:02}", offering("mobiprox_techniques", f"technique_{index}"))
    started = time.perf_counter()
    registry = plugins.load()
    assert time.perf_counter() - started < 1
    assert len(registry.names("technique")) == 50


def test_the_plugins_of_this_repository_load_without_anything_heavy() -> None:
    code = (
        "import sys; from mobiprox_core import plugins; r = plugins.load()\n"
        "assert not r.problems, r.problems\n"
        "print(sorted(m for m in ('numpy', 'torch', 'onnx', 'onnx_ir', 'pyopencl', 'sklearn', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_hook_marker_is_the_one_of_the_entry_point_group() -> None:
    assert hookimpl.project_name == plugins.GROUP


REGISTRY = plugins.load()
OFFERS = [(kind, name) for kind in plugins.KINDS for name in REGISTRY.names(kind)]


@pytest.mark.parametrize(("kind", "name"), OFFERS, ids=lambda value: str(value))
def test_every_option_of_every_plugin_has_a_description_and_a_type(kind: str, name: str) -> None:
    from mobiprox_core.testing.offer import typed

    for key, option in REGISTRY.get(kind, name).options.get("properties", {}).items():
        assert option.get("description"), f"{kind} {name}: option '{key}' has no description"
        assert typed(option), f"{kind} {name}: option '{key}' has no type"


def test_every_key_of_an_experiment_is_described_for_editors() -> None:
    """What the YAML language server shows under the pointer."""
    from mobiprox_core.experiment import schema

    def silent(of: dict[str, Any], at: str) -> Iterator[str]:
        for key, value in of.get("properties", {}).items():
            if value and not {"description", "$ref"} & value.keys():
                yield f"{at}/{key}"
            yield from silent(value, f"{at}/{key}")
        for branch in (of.get("then"), of.get("else"), *of.get("allOf", ()), *of.get("$defs", {}).values()):
            yield from silent(branch, at) if isinstance(branch, dict) else ()

    assert not sorted(set(silent(schema(REGISTRY), "")))
