"""What an export writes, keeps, refuses and remarks."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from mobiprox_export_android.plugin import Android
from mobiprox_export_android.project import TEMPLATE, write

from mobiprox_core import bundle as bundles
from mobiprox_core import plugins
from mobiprox_core.cli import main
from mobiprox_core.errors import BundleError, UsageError
from mobiprox_core.experiment import Choice
from mobiprox_core.testing import ExporterContract
from tests.fakes import distribution

pytestmark = pytest.mark.opencl

ROOT = Path(__file__).resolve().parents[3]
ANDROID = "{http://schemas.android.com/apk/res/android}"


class TestTheExporter(ExporterContract):
    @pytest.fixture
    def exporter(self) -> Android:
        return Android()


def test_the_command_writes_a_project_and_says_what_the_bundle_was_made_for(bundle: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", str(bundle), "--android", str(tmp_path / "app")])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"android: {tmp_path / 'app'}\n"
    assert re.search(r"note: the bundle was made for the CPU '.*'.*make it with 'backend: android'", done.stderr)
    assert bundles.read(tmp_path / "app" / "mobiprox" / "src" / "main" / "assets" / "bundle").plan.name == "digits"


def test_without_a_target_the_exporters_are_named(bundle: Path) -> None:
    done = CliRunner().invoke(main, ["export", str(bundle)])
    assert done.exit_code == 2
    assert "--android DIR" in done.stderr


def test_the_manifest_asks_for_the_phones_opencl_and_does_without_it(exported: Path) -> None:
    root = ElementTree.parse(exported / "mobiprox" / "src" / "main" / "AndroidManifest.xml").getroot()
    [wanted] = root.findall("application/uses-native-library")
    assert wanted.attrib == {f"{ANDROID}name": "libOpenCL.so", f"{ANDROID}required": "false"}


def test_the_sample_is_the_launcher_activity_of_its_manifest(exported: Path) -> None:
    root = ElementTree.parse(exported / "app" / "src" / "main" / "AndroidManifest.xml").getroot()
    [activity] = root.findall("application/activity")
    assert (exported / "app/src/main/java/org/mobiprox/sample" / f"{activity.attrib[f'{ANDROID}name'].strip('.')}.java").exists()


def test_gradle_builds_what_is_there(exported: Path) -> None:
    settings = (exported / "settings.gradle.kts").read_text()
    [modules] = re.findall(r"include\((.*)\)", settings)
    for module in re.findall(r'":(\w+)"', modules):
        assert (exported / module / "build.gradle.kts").exists()
    text = (exported / "mobiprox" / "build.gradle.kts").read_text()
    [cmake] = re.findall(r'path = file\("(.*)"\)', text)
    assert (exported / "mobiprox" / cmake).exists()
    assert re.findall(r'abiFilters \+= listOf\("(.*)"\)', text) == ['arm64-v8a", "armeabi-v7a", "x86_64']


def test_a_new_export_replaces_the_library_and_leaves_the_rest(bundle: Path, tmp_path: Path) -> None:
    write(bundle, tmp_path)
    (tmp_path / "app" / "build.gradle.kts").write_text("// mine")
    (tmp_path / "mobiprox" / "old").write_text("")
    write(bundle, tmp_path)
    assert (tmp_path / "app" / "build.gradle.kts").read_text() == "// mine"
    assert not (tmp_path / "mobiprox" / "old").exists()


def test_a_folder_of_something_else_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mobiprox").mkdir()
    (tmp_path / "mobiprox" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="was not written by an export"):
        write(bundle, tmp_path)
    assert (tmp_path / "mobiprox" / "thesis.tex").exists()
    with pytest.raises(UsageError, match="is a file"):
        write(bundle, tmp_path / "mobiprox" / "thesis.tex")


def test_a_damaged_bundle_is_not_exported(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "plan.json").write_text("{}")
    with pytest.raises(BundleError, match=r"plan\.json"):
        write(tmp_path / "bundle", tmp_path / "app")
    assert not (tmp_path / "app").exists()


def rewritten(bundle: Path, folder: Path, **changes: object) -> Path:
    bundles.write(replace(bundles.read(bundle), **changes), folder)  # type: ignore[arg-type]
    return folder


def test_a_strategy_without_a_c_twin_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "strategy_alone", "@hookimpl\ndef mobiprox_strategies():\n    return [Offered('alone')]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="'alone' has no C twin") as refusal:
        write(rewritten(bundle, tmp_path / "bundle", strategy=Choice("alone", {})), tmp_path / "app")
    assert "cascade, confidence, guarded, kalman, naive, rules, state" in str(refusal.value.mend)
    rules = Choice("rules", {"rules": [{"when": "battery < 20", "at_least": 1}], "then": "alone"})
    with pytest.raises(UsageError, match="'alone' has no C twin"):
        write(rewritten(bundle, tmp_path / "composed", strategy=rules), tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_a_strangers_strategy_brings_its_c_file(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake and a C compiler (Debian: cmake, gcc, libcjson-dev)")
    (tmp_path / "still.c").write_text(
        '#include "mobiprox_strategy.h"\n'
        "static void *create(const mbx_setup *setup, char *error, size_t bytes) { (void)setup, (void)error, (void)bytes; return 0; }\n"
        "static void start(const void *self, void *state) { (void)self, (void)state; }\n"
        "static mbx_choice step(const void *self, void *state, const mbx_observation *seen) {\n"
        "    (void)self, (void)state, (void)seen;\n    return (mbx_choice){0, 0};\n}\n"
        'extern const mbx_strategy mbx_strategy_still;\nconst mbx_strategy mbx_strategy_still = {"still", 1, create, start, step};\n'
    )
    code = f"@hookimpl\ndef mobiprox_strategies():\n    return [Offered('still', c_source={str(tmp_path / 'still.c')!r})]\n"
    distribution(tmp_path, "strategy_still", code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "strategy_still" in {plugin.name for plugin in plugins.load().plugins}
    write(rewritten(bundle, tmp_path / "bundle", strategy=Choice("still", {})), tmp_path / "app")
    cpp = tmp_path / "app" / "mobiprox" / "src" / "main" / "cpp"
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.18)\nproject(test C)\ninclude({cpp}/strategies.cmake)\nadd_subdirectory({cpp}/runtime runtime)\n"
    )
    for command in (["cmake", "-S", tmp_path, "-B", tmp_path / "build"], ["cmake", "--build", tmp_path / "build", "--target", "mobiprox"]):
        subprocess.run(command, check=True, capture_output=True)
    assert b"mbx_strategy_still" in (tmp_path / "build" / "runtime" / "libmobiprox.a").read_bytes()


def test_kotlin_in_the_documents_calls_what_java_offers() -> None:
    """There is no Kotlin here: at least every method and property that is shown is one of the interface."""
    java = "".join(path.read_text() for path in sorted((TEMPLATE / "mobiprox/src/main/java/org/mobiprox").glob("*.java")))
    methods = set(re.findall(r"public (?:static |synchronized )*[\w<>\[\].]+ (\w+)\(", java))
    properties = {name[3].lower() + name[4:] for name in methods if re.match(r"[gs]et[A-Z]", name)}
    pages = [ROOT / "docs" / "android.md", ROOT / "plugins" / "export_android" / "README.md", TEMPLATE / "README.md"]
    for page in pages:
        [*codes] = re.findall(r"^```kotlin\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        assert codes, page
        for code in codes:
            called = set(re.findall(r"\b(?:Mobiprox|network|prediction|seen|Options\(\)|Sensors\(\))\.(\w+)", code)) - {"use"}
            assert called <= methods | properties, (page, called - methods - properties)
