"""What the documents show is true: every hook is documented, every example loads, every name in the README exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobiprox_core import document, hookspecs, plugins
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.errors import BundleError, DeviceError
from mobiprox_core.interfaces import Observation, OperatorProfile, Profile, Progress, SettingProfile
from mobiprox_core.measurement import OperatingPoint
from tests.fakes import distribution

ROOT = Path(__file__).resolve().parents[1]
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "mobiprox_spec"))
OFFERING = {kind.hook: kind.name for kind in plugins.KINDS.values()}


def section(hook: str) -> str:
    found = re.findall(rf"^## `{hook}`\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "hooks.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"docs/hooks.md has {len(found)} headings for {hook}"
    return str(found[0])


def example(hook: str) -> str:
    [code] = re.findall(r"^```python\n(.*?)^```", section(hook), re.DOTALL | re.MULTILINE)
    return str(code)


def test_there_are_hooks() -> None:
    assert set(OFFERING) < set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading_and_an_example_that_loads(site: Path, hook: str) -> None:
    distribution(site, "example", example(hook), header="")
    registry = plugins.load()
    assert not registry.problems
    assert f"def {hook}(" in example(hook)
    if hook in OFFERING:
        assert len(registry.names(OFFERING[hook])) == 1
    else:
        assert registry.plugins[0].offers == {}


@pytest.fixture
def offered(site: Path) -> Callable[[str], object]:
    """The object that the example of an offering hook offers."""

    def load(hook: str) -> object:
        distribution(site, "example", example(hook), header="")
        registry = plugins.load()
        [name] = registry.names(OFFERING[hook])
        return registry.get(OFFERING[hook], name)

    return load


def test_the_frontend_of_the_example_reads_a_network(offered: Callable[[str], object], tmp_path: Path) -> None:
    import gzip

    (tmp_path / "net.gz").write_bytes(gzip.compress((ROOT / "examples" / "digits" / "digits.onnx").read_bytes()))
    model = offered("mobiprox_frontends").load({"path": "net.gz"}, tmp_path)
    assert len(list(model.graph)) > 5


def test_the_data_set_of_the_example_gives_the_same_samples_twice(offered: Callable[[str], object], tmp_path: Path) -> None:
    waves = offered("mobiprox_datasets")
    first, second = (waves.load("tune", {"count": 20}, tmp_path) for _ in range(2))
    assert first.inputs.shape == (20, 1, 64)
    assert first.inputs.dtype == np.float32
    np.testing.assert_array_equal(first.inputs, second.inputs)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_the_technique_of_the_example_rounds_weights(offered: Callable[[str], object]) -> None:
    technique = offered("mobiprox_techniques")
    setting = Setting.parse("rounding(steps=2)").parts[0]
    weight = np.array([[-1.0, 0.3, 0.1, 0.8]], dtype=np.float32)
    np.testing.assert_allclose(technique.reference(setting, None, None, {}).weight(weight), [[-1.0, 0.5, 0.0, 1.0]])


def test_the_heuristic_of_the_example_proposes_configurations(offered: Callable[[str], object]) -> None:
    def operator(name: str, divergence: float) -> OperatorProfile:
        fast = SettingProfile(Setting.of("x"), 1.0, 0.1, divergence)
        return OperatorProfile(name, (SettingProfile(Setting(), 2.0, 0.1, 0.0), fast))

    profile = Profile((operator("a", 0.5), operator("b", 0.1)), latency_ms=4.0, samples=10)
    found = offered("mobiprox_heuristics").search(profile, {}, 5, np.random.default_rng(0))
    assert [(list(c.configuration.settings), c.latency_ms) for c in found] == [(["b"], 3.0), (["a", "b"], 2.0)]


def test_the_backend_of_the_example_says_what_is_wrong(offered: Callable[[str], object]) -> None:
    backend = offered("mobiprox_backends")
    assert backend.devices()[0].problem
    with pytest.raises(DeviceError, match="ttyUSB0"):
        backend.open({})


def test_the_strategy_of_the_example_goes_back_at_a_doubt(offered: Callable[[str], object]) -> None:
    strategy = offered("mobiprox_strategies").create({}, [None] * 3)
    state, levels = strategy.start(), []
    for confidence in (0.99, 0.99, 0.99, 0.2, 0.99):
        state, level = strategy.step(state, Observation(label=0, confidence=confidence, level=0))
        levels.append(level)
    assert levels == [1, 2, 2, 0, 1]


def test_the_meter_of_the_example_measures(offered: Callable[[str], object]) -> None:
    meter = offered("mobiprox_meters")
    assert meter.problem() is None
    with meter.measure() as reading:
        sum(range(1000))
    assert reading.energy_mj > 0


def test_the_exporter_of_the_example_makes_one_file(offered: Callable[[str], object], tmp_path: Path) -> None:
    exporter = offered("mobiprox_exporters")
    with pytest.raises(BundleError, match="cannot be read"):
        exporter.export(tmp_path / "nothing", tmp_path)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(
    ("hook", "values", "printed"),
    [
        ("mobiprox_point_measured", {"point": OperatingPoint(Configuration({}), 1.5, 0.25)}, "  1.50 lost     0.250 ms\n"),
        ("mobiprox_progress", {"progress": Progress("search", 3, 3)}, "search is done\n"),
    ],
)
def test_the_observers_of_the_examples_observe(
    site: Path, capsys: pytest.CaptureFixture[str], hook: str, values: dict[str, object], printed: str
) -> None:
    distribution(site, "example", example(hook), header="")
    registry = plugins.load()
    registry.notify(hook, **values)
    assert not registry.problems
    assert capsys.readouterr().out == printed


def test_a_stranger_s_plugin_outside_the_repository_is_listed_and_can_be_named(tmp_path: Path) -> None:
    distribution(tmp_path, "approx_rounding", example("mobiprox_techniques"), header="", dist="someone-rounding")
    text = (ROOT / "examples" / "digits" / "experiment.yaml").read_text().replace("- fp16", "- rounding: {steps: [3]}")
    (tmp_path / "digits.onnx").write_bytes((ROOT / "examples" / "digits" / "digits.onnx").read_bytes())
    (tmp_path / "experiment.yaml").write_text(text)

    def mobiprox(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mobiprox_core", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path), "PATH": ""})

    assert "someone-rounding" in mobiprox("plugins", "list").stdout
    checked = mobiprox("check", str(tmp_path / "experiment.yaml"))
    assert checked.returncode == 0, checked.stderr
    assert "rounding" in checked.stdout


def test_every_command_in_the_documents_exists() -> None:
    from mobiprox_core.cli import main

    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    for command in set(re.findall(r"^(?:\$ )?mobiprox ([a-z]+)", "\n".join(texts), re.MULTILINE)):
        assert command in main.commands


def test_the_experiment_file_of_the_readme_is_that_of_the_example() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    shown = [block for block in blocks if block.startswith("mobiprox: ")]
    assert shown
    ours = document.read(ROOT / "examples" / "digits" / "experiment.yaml")[0].value
    assert document.parse(shown[0], "README.md")[0].value == ours
