"""What fitting to calibration inputs saves, with one setting on all convolutions but the first: deliberately extreme, a search would mix.

    MOBIPROX_DATA=../shared/data python benchmarks/calibration.py [NETWORK ...]

Prints a table of accuracy lost on test data, in percentage points. Calibration inputs are disjoint from test inputs; their labels are
not looked at. Everything runs on the default OpenCL device.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from mobiprox_core import plugins
from mobiprox_core.batches import BATCH
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.interfaces import Device
from mobiprox_core.lab import through
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.plugins import Registry
from mobiprox_core.statistics import Calibration

FOLDER = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[2] / "shared" / "data"))

KEPT = {"3/4": (4, "keep=3, of=4"), "2/3": (3, "keep=2, of=3"), "1/2": (2, "keep=1, of=2")}
"""What is kept -> the stride that keeps as much, and how a choice says it."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a network is tried on: splits of a data set, and how many inputs are fitted to."""

    dataset: str
    calibrate: str
    test: str
    inputs: int


CASES = {
    "cifar10_resnet20": Case("cifar10", "train", "test", 400),
    "alexnet2_cifar10": Case("cifar10", "train", "test", 400),
    "kws_honk_res8": Case("keywords", "tune", "test", 300),
    "kws_honk_trad": Case("keywords", "tune", "test", 300),
    "mobilenet_uci-har": Case("har", "train", "test", 400),
}


def settings(kept: str) -> dict[str, Setting]:
    """The paper's sampling, the same fitted, and as many elements chosen."""
    stride, choice = KEPT[kept]
    spelt = {
        "rescaled": f"filter_sampling(offset=0, stride={stride})",
        "refit": f"filter_sampling(offset=0, refit=independent, stride={stride})",
        "chosen": f"filter_sampling(choose=error, {choice})",
    }
    return {name: Setting.parse(text) for name, text in spelt.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """Points lost by each variant, at what is kept."""

    kept: str
    losses_pp: Mapping[str, float]


def measure(name: str, device: Device, registry: Registry, folder: Path, tests: int | None = None) -> tuple[float, list[Row]]:
    """Exact accuracy in per cent, and the rows of a network. folder: for what is kept of statistics and fits. tests: inputs at most."""
    case = CASES[name]
    network = Network.from_model(registry.get("frontend", "onnx").load({"path": f"{name}.onnx"}, FOLDER), name)
    dataset, where = registry.get("dataset", case.dataset), {"path": str(FOLDER.resolve())}
    fitted_to = dataset.load(case.calibrate, {**where, "limit": case.inputs}, FOLDER).inputs
    test = dataset.load(case.test, where if tests is None else {**where, "limit": tests}, FOLDER)
    assert test.labels is not None
    graph = network.at_batch(BATCH)
    names = [op.name for op in graph.operators if op.kind == "conv"][1:]
    variants = {(kept, variant): setting for kept in KEPT for variant, setting in settings(kept).items()}
    configurations = [Configuration({}), *(Configuration(dict.fromkeys(names, setting)) for setting in variants.values())]
    techniques = {"filter_sampling": registry.get("technique", "filter_sampling")}
    known = Calibration(network, device, fitted_to, folder=folder)
    runner = device.load(lower(graph, device.info, techniques, {}, configurations, statistics=known))
    right = []
    for level in range(len(configurations)):
        runner.set_level(level)
        right.append(float((through(runner, test.inputs).argmax(1) == test.labels).mean()) * 100)
    runner.close()
    lost = {key: right[0] - value for key, value in zip(variants, right[1:], strict=True)}
    return right[0], [Row(kept, {variant: lost[kept, variant] for variant in settings(kept)}) for kept in KEPT]


def main() -> None:
    registry = plugins.load()
    device = registry.get("backend", "opencl").open({})
    print(f"{device.info.name}, {device.info.isa}\n")
    print("| network (exact) | kept | rescaled | refit | chosen | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sys.argv[1:] or CASES:
        with TemporaryDirectory() as folder:
            started = perf_counter()
            exact, rows = measure(name, device, registry, Path(folder))
            seconds = perf_counter() - started
        for row in rows:
            losses = " | ".join(f"{loss:.1f}" for loss in row.losses_pp.values())
            print(f"| {name} ({exact:.1f}) | {row.kept} | {losses} | {seconds:.0f} |", flush=True)
    device.close()


if __name__ == "__main__":
    main()
