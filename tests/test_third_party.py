"""Plugins of strangers: built as wheels, installed into an environment that has core and what they need, tested, and used in a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mobiprox_core import plugins

ROOT = Path(__file__).resolve().parents[1]
STRANGERS = sorted(path.parent for path in ROOT.glob("examples/third_party/*/pyproject.toml"))
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")

pytestmark = [pytest.mark.slow, pytest.mark.opencl]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a distribution -> its wheel: core, the plugins of this repository that a run needs, and the strangers'."""
    out = tmp_path_factory.mktemp("wheels")
    ours = [ROOT, *(ROOT / "plugins" / name for name in OURS)]
    subprocess.run([*PIP, "wheel", *OFFLINE, "--wheel-dir", str(out), *map(str, (*ours, *STRANGERS))], check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in out.glob("*.whl")}


OURS = ("approx_perforation", "backend_opencl", "data_arrays", "frontend_onnx", "qos_accuracy", "search_knapsack")


class Environment:
    """An empty environment: a folder for wheels, and the libraries of others; none of this project unless it is installed."""

    def __init__(self, folder: Path, wheels: dict[str, Path]) -> None:
        self.folder, self.wheels, self.site, self.libraries = folder, wheels, folder / "site", folder / "libraries"
        self.libraries.mkdir()
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for path in Path(place).iterdir():
                if not re.match(r"(_editable_impl_|__editable__)?\.?_*mobiprox", path.name) and path.suffix != ".pth":
                    (self.libraries / path.name).symlink_to(path)

    def install(self, *names: str) -> None:
        command = [*PIP, "install", *OFFLINE, "--target", str(self.site), *(str(self.wheels[name]) for name in names)]
        subprocess.run(command, check=True, capture_output=True)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name != plugins.ALLOW_LIST}
        env["PYTHONPATH"] = os.pathsep.join(map(str, (self.site, self.libraries)))
        return subprocess.run([sys.executable, "-S", *arguments], capture_output=True, text=True, check=False, env=env, cwd=self.folder)

    def mobiprox(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.python("-m", "mobiprox_core", *arguments)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def listed(self) -> set[str]:
        return {plugin["name"] for plugin in json.loads(self.mobiprox("plugins", "list", "--json").stdout)["plugins"]}

    def experiment(self, techniques: Iterable[Any], **other: Any) -> Path:
        samples = {"dataset": "arrays", "inputs": "data.npz", "inputs_key": "x", "labels_key": "y"}
        content = {
            "mobiprox": 1,
            "model": {"frontend": "onnx", "path": "net.onnx"},
            "data": {"tune": {**samples, "split": "0:64"}, "test": {**samples, "split": "64:"}},
            "techniques": list(techniques),
            "search": {"heuristic": "knapsack", "max_loss_pp": 100, "levels": 3},
            "backend": {"opencl": {"threads": 1}},
            **other,
        }
        path = self.folder / "experiment.yaml"
        path.write_text(json.dumps(content))
        return path


@pytest.fixture
def environment(tmp_path: Path, wheels: dict[str, Path]) -> Environment:
    import numpy as np
    import onnx
    from small import small_network

    rng = np.random.default_rng(3)
    onnx.save(small_network(rng), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=rng.normal(0, 1, (96, 3, 16, 16)).astype(np.float32), y=rng.integers(0, 4, 96))
    layers = {"weight0": rng.normal(size=(768, 20)), "bias0": np.zeros(20), "weight1": rng.normal(size=(20, 4)), "bias1": np.zeros(4)}
    np.savez(tmp_path / "layers.npz", **layers)
    return Environment(tmp_path, wheels)


def test_an_environment_grows_plugin_by_plugin_and_says_what_is_missing(environment: Environment) -> None:
    environment.install("mobiprox", "mobiprox-approx-perforation")
    assert environment.listed() == {"approx_perforation"}
    text = "import mobiprox_core; print(mobiprox_core.Setting.parse('perforation(axis=rows, offset=1, stride=2)'))"
    assert environment.python("-c", text).stdout.strip() == "perforation(axis=rows, offset=1, stride=2)"
    explained = environment.mobiprox("explain", "conv1: perforation(axis=rows, offset=1, stride=2)")
    assert explained.stdout.startswith("conv1 skips every 2nd row from row 1")
    refused = environment.mobiprox("run", str(environment.experiment(["perforation", "magnitude"])))
    assert refused.returncode == 3
    for missing in ("mobiprox-frontend-onnx", "mobiprox-data-arrays", "mobiprox-approx-magnitude", "mobiprox-backend-opencl"):
        assert f"pip install {missing}" in refused.stderr

    environment.install("mobiprox-approx-magnitude")
    assert environment.listed() == {"approx_perforation", "approx_magnitude"}
    refused = environment.mobiprox("run", str(environment.experiment(["perforation", "magnitude"])))
    assert "pip install mobiprox-approx-magnitude" not in refused.stderr
    assert "no backend is called 'opencl'" in refused.stderr
    assert environment.mobiprox("devices").returncode == 6

    environment.install(*(f"mobiprox-{name.replace('_', '-')}" for name in OURS if name != "approx_perforation"))
    done = environment.mobiprox("run", str(environment.experiment(["perforation", "magnitude"])), "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    tried = json.loads((environment.folder / "out" / "profile.json").read_text())["operators"]
    spelt = {s["setting"].split("(")[0] for o in tried for s in (*o["settings"], *o["dropped"])}
    assert {"perforation", "magnitude"} <= spelt


def test_every_strangers_plugin_is_used_in_a_run(environment: Environment) -> None:
    environment.install("mobiprox", *(f"mobiprox-{name.replace('_', '-')}" for name in OURS), *(folder.name for folder in STRANGERS))
    samples = {"dataset": "arrays", "inputs": "data.npz", "inputs_key": "x", "labels_key": "y"}
    strategy = {"strategy": {"allowance": {"share": 0.8}}, "trace": {**samples, "split": "64:"}}
    done = environment.mobiprox("run", str(environment.experiment(["magnitude", "nearest"], **strategy)), "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)["provenance"]["plugins"]
    assert (used["mobiprox-approx-magnitude"], used["mobiprox-approx-nearest"], used["mobiprox-strategy-allowance"]) == (
        "1.0.0",
        "0.3.1",
        "2.0.0",
    )
    tried = json.loads((environment.folder / "out" / "profile.json").read_text())["operators"]
    spelt = {s["setting"] for o in tried for s in (*o["settings"], *o["dropped"])}
    assert {"magnitude(percent=50)", "nearest(axis=rows, offset=1)"} <= spelt
    script = (
        "from mobiprox_core import plugins; from pathlib import Path; from mobiprox_core.network import Network\n"
        "model = plugins.load().get('frontend', 'npz').load({'path': 'layers.npz'}, Path('.'))\n"
        "print([op.kind for op in Network.from_model(model, 'net').at_batch(2).operators])"
    )
    assert environment.python("-c", script).stdout.strip() == "['dense', 'dense']"


@pytest.mark.parametrize("folder", STRANGERS, ids=lambda folder: folder.name)
def test_a_strangers_plugin_keeps_its_contract(folder: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != plugins.ALLOW_LIST}
    few = ("-k", "not kernels or even")  # kernels on one graph: they take their time
    command = [sys.executable, "-m", "mobiprox_core", "plugins", "test", str(folder), *few]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_technique_at_the_depth_of_tables_has_at_most_forty_lines() -> None:
    [plugin] = (ROOT / "examples" / "third_party" / "mobiprox-approx-magnitude").glob("mobiprox_*/plugin.py")
    assert len(plugin.read_text().splitlines()) <= 40


RENAMED = ("approx_perforation", "approx_filter_sampling", "backend_opencl", "search_knapsack", "strategy_naive")


def renamed(folder: Path, out: Path) -> Path:
    """A copy of a plugin under another name: the word that it offers is another one in files, folders, code and metadata."""
    word = folder.name.partition("_")[2]
    place = out / f"z{folder.name}"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not {"__pycache__", "tests"} & set(path.parts):
            target = place / _renamed(path.relative_to(folder).as_posix(), word)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_renamed(path.read_text(), word))
    return place


def _renamed(text: str, word: str) -> str:
    for spelt in {word, word.replace("_", "-")}:
        text = re.sub(rf"(?<!py){re.escape(spelt)}", f"z{spelt}", text)
    return text


def test_core_works_with_renamed_copies_from_outside_and_none_of_this_repositorys_own(environment: Environment, tmp_path: Path) -> None:
    copies = [renamed(ROOT / "plugins" / name, tmp_path / "copies") for name in RENAMED]
    command = [*PIP, "wheel", *OFFLINE, "--wheel-dir", str(tmp_path / "wheels"), *map(str, copies)]
    subprocess.run(command, check=True, capture_output=True)
    environment.wheels = environment.wheels | {p.name.split("-")[0].replace("_", "-"): p for p in (tmp_path / "wheels").glob("*.whl")}
    names = [f"mobiprox-{prefix}-z{rest.replace('_', '-')}" for prefix, _, rest in (name.partition("_") for name in RENAMED)]
    environment.install("mobiprox", "mobiprox-frontend-onnx", "mobiprox-data-arrays", "mobiprox-qos-accuracy", *names)
    own = {name.replace("_", "_z", 1) for name in RENAMED}
    assert environment.listed() == {"frontend_onnx", "data_arrays", "qos_accuracy", *own}
    samples = {"dataset": "arrays", "inputs": "data.npz", "inputs_key": "x", "labels_key": "y", "split": "64:"}
    wanted = environment.experiment(
        [{"zperforation": {"strides": [2]}}, {"zfilter_sampling": {"strides": [2]}}],
        search={"heuristic": "zknapsack", "max_loss_pp": 100, "levels": 3},
        backend={"zopencl": {"threads": 1}},
        strategy="znaive",
        trace=samples,
    )
    done = environment.mobiprox("run", str(wanted), "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    used = set(json.loads(done.stdout)["provenance"]["plugins"])
    assert set(names) <= used
    script = "import mobiprox_core as m; print(len(m.open_model('net.onnx', settings={'conv1': 'zperforation(axis=rows, offset=1, stride=2)'}).operators))"
    assert environment.python("-c", script).stdout.strip().isdigit()
