"""The runner for aarch64 runs bundles under emulation, on an aarch64 PoCL: `make test-arm`. Its timings mean nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from mobiprox_approx_int8.plugin import mobiprox_techniques as quantised  # noqa: E402
from mobiprox_backend_native.build import SOURCES, build_runner  # noqa: E402
from mobiprox_backend_opencl import trial  # noqa: E402
from mobiprox_backend_opencl.devices import open_device  # noqa: E402
from native_bundles import LEVELS, TECHNIQUES, infer, run, write_bundle  # noqa: E402
from test_native_runner import ROOT, expected, network_bundle  # noqa: E402

from mobiprox_core import bundle as bundles  # noqa: E402
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, Setting  # noqa: E402
from mobiprox_core.experiment import Choice  # noqa: E402
from mobiprox_core.lowering import lower  # noqa: E402
from mobiprox_core.session import Session  # noqa: E402
from mobiprox_core.testing import graphs, statistics  # noqa: E402

pytestmark = pytest.mark.skipif("MOBIPROX_ARM_ROOT" not in os.environ, reason="make test-arm: fetches 85 MB and emulates another processor")

CMAKE_PACKAGE = """add_library(cjson SHARED IMPORTED)
set_target_properties(cjson PROPERTIES IMPORTED_LOCATION {root}/usr/lib/aarch64-linux-gnu/libcjson.so)
set_target_properties(cjson PROPERTIES INTERFACE_INCLUDE_DIRECTORIES {root}/usr/include)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the emulated runner sees."""
    return tmp_path_factory.mktemp("arm").resolve()


@pytest.fixture(scope="module")
def arm(place: Path) -> Path:
    """A command that stands for the runner."""
    root = Path(os.environ["MOBIPROX_ARM_ROOT"]).resolve()
    root.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh", HERE / "root.sh", root], check=True)
    package = root.parent / "cmake"
    package.mkdir(exist_ok=True)
    (package / "cJSONConfig.cmake").write_text(CMAKE_PACKAGE.format(root=root))
    toolchain = str(SOURCES / "cmake" / "aarch64-linux-gnu.cmake")
    built = build_runner(root.parent, {"CMAKE_TOOLCHAIN_FILE": toolchain, "MOBIPROX_FETCH_CJSON": "OFF", "CMAKE_PREFIX_PATH": str(package)})
    shutil.copy(built, place / "mbx-run")
    command = place / "run"
    command.write_text(f'#!/bin/sh\nexec sh "{HERE}/run.sh" "{root}" "{place}" "{place}/mbx-run" "$@"\n')
    command.chmod(0o755)
    return command


def test_the_file_is_what_it_should_be(arm: Path) -> None:
    done = subprocess.run(["readelf", "-h", arm.parent / "mbx-run"], capture_output=True, text=True, check=True)
    assert "AArch64" in done.stdout


@pytest.mark.parametrize("threads", ["1", "2"])
def test_every_level_is_as_here(threads: str, arm: Path, place: Path) -> None:
    device = open_device({"isa": "generic", "threads": int(threads)})
    plan = lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS)
    levels = (EXACT_CONFIGURATION, *LEVELS)
    bundle = write_bundle(place / f"trial-{threads}" / "bundle", plan, levels, 10, options={"isa": "generic"})
    batches = [np.random.default_rng(seed).standard_normal((2, 3, 8, 8)).astype(np.float32) for seed in range(3)]
    wanted = expected(device.load(plan), len(levels), batches)
    np.testing.assert_allclose(
        infer(arm, bundle, np.stack(batches), "--threads", threads), wanted, rtol=1e-5, atol=1e-6 * abs(wanted).max()
    )


def test_8_bit_integers_are_as_here(arm: Path, place: Path) -> None:
    """Without the instructions of x86: bytes handed on between neighbours, and through a concatenation."""
    graph, techniques = graphs.joined(), {technique.name: technique for technique in quantised()}
    known = {name: statistics.observe(graph, [graphs.inputs(graph, 1)], name) for name in ("left", "right", "op")}
    levels = tuple(
        Configuration(dict.fromkeys(known, Setting.parse(text))) for text in ("int8", "int8(activations=7)", "weight_only(bits=4)")
    )
    device = open_device({"isa": "generic", "threads": 1})
    plan = lower(graph, device.info, techniques, {}, levels, statistics=known.get)
    bundle = write_bundle(place / "int8" / "bundle", plan, (EXACT_CONFIGURATION, *levels), 10, options={"isa": "generic"})
    x = np.stack([graphs.inputs(graph, seed)[0] for seed in range(3)])
    wanted = expected(device.load(plan), 1 + len(levels), list(x))
    np.testing.assert_allclose(
        infer(arm, bundle, x), wanted, atol=0.02 * abs(wanted).max()
    )  # a step of an activation, where halves are rounded


def test_a_strategy_walks_as_here(arm: Path, place: Path) -> None:
    strategy = Choice("state", {})
    bundle = place / "digits" / "bundle"
    network_bundle(ROOT / "examples" / "digits" / "digits.onnx", bundle, open_device({"isa": "generic"}), 4, strategy)
    content = bundles.read(bundle)
    bundles.write(replace(content, backend=Choice("opencl", {"isa": "generic"})), bundle)
    shape = content.plan.inputs[0].shape
    x = np.repeat(np.random.default_rng(2).random((6, *shape[1:]), dtype=np.float32), 6, axis=0)
    x.tofile(place / "stream")
    with Session.open(bundle) as session:
        wanted = [session.infer(sample) for sample in x]
    steps = [line for line in run(arm, "--trace", bundle, place / "stream") if line["event"] == "step"]
    assert [(step["level"], step["label"]) for step in steps] == [(p.level, p.label) for p in wanted]
    assert len({p.level for p in wanted}) > 2
