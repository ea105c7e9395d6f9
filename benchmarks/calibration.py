"""What fitting to calibration inputs saves, with one setting on all convolutions but the first: deliberately extreme, a search would mix.

    MOBIPROX_DATA=../shared/data python benchmarks/calibration.py [--write] [NETWORK ...]

Prints a table of accuracy lost on test data, in percentage points: the paper's rescaling, the same elements fitted, as many chosen and
fitted, and both corrected (recalibrate: affine). Calibration inputs are disjoint from test inputs; their labels are not looked at.
Everything runs on the default OpenCL device. --write puts the table into docs/calibration.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from mobiprox_core import plugins
from mobiprox_core.batches import BATCH
from mobiprox_core.configuration import Configuration, Setting
from mobiprox_core.correction import CorrectionsOf, none
from mobiprox_core.interfaces import Device
from mobiprox_core.lab import through
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.plugins import Registry
from mobiprox_core.recalibration import Recalibrator
from mobiprox_core.statistics import Calibration

FOLDER = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[2] / "shared" / "data"))

PAGE = Path(__file__).parents[1] / "docs" / "calibration.md"
MARKS = "<!-- uniform settings: made by benchmarks/calibration.py -->", "<!-- end of uniform settings -->"

COLUMNS = ("rescaled", "refit", "chosen", "refit + affine", "chosen + affine")

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


@dataclass(frozen=True, slots=True)
class Result:
    """One network: exact accuracy in per cent, seconds that statistics, fits and choices took, and those of one correction, on average."""

    exact: float
    rows: Sequence[Row]
    fit_s: float
    correction_s: float


def measure(name: str, device: Device, registry: Registry, folder: Path, tests: int | None = None) -> Result:
    """folder: for what is kept of statistics and fits. tests: inputs at most."""
    case = CASES[name]
    network = Network.from_model(registry.get("frontend", "onnx").load({"path": f"{name}.onnx"}, FOLDER), name)
    dataset, where = registry.get("dataset", case.dataset), {"path": str(FOLDER.resolve())}
    fitted_to = dataset.load(case.calibrate, {**where, "limit": case.inputs}, FOLDER).inputs
    test = dataset.load(case.test, where if tests is None else {**where, "limit": tests}, FOLDER)
    assert test.labels is not None
    graph = network.at_batch(BATCH)
    names = [op.name for op in graph.operators if op.kind == "conv"][1:]
    variants = {(kept, variant): setting for kept in KEPT for variant, setting in settings(kept).items()}
    plain = {key: Configuration(dict.fromkeys(names, setting)) for key, setting in variants.items()}
    techniques = {"filter_sampling": registry.get("technique", "filter_sampling")}
    known = Calibration(network, device, fitted_to, folder=folder)

    def accuracies(levels: Sequence[Configuration], corrections: CorrectionsOf) -> list[float]:
        """Of the exact network and these, in per cent."""
        plan = lower(graph, device.info, techniques, {}, [Configuration({}), *levels], statistics=known, corrections=corrections)
        with closing(device.load(plan)) as runner:
            right = []
            for level in range(len(plan.levels)):
                runner.set_level(level)
                right.append(float((through(runner, test.inputs).argmax(1) == test.labels).mean()) * 100)
        return right

    started = perf_counter()
    lower(graph, device.info, techniques, {}, list(plain.values()), statistics=known)
    fitted = perf_counter()
    fitted_settings = {key: configuration for key, configuration in plain.items() if key[1] != "rescaled"}
    recalibrator = Recalibrator(known, techniques, "affine")
    found = {configuration: recalibrator(configuration) for configuration in fitted_settings.values()}
    done = perf_counter()
    exact, *uncorrected = accuracies(list(plain.values()), none)
    _, *afterwards = accuracies(list(fitted_settings.values()), lambda configuration: found.get(configuration, {}))
    lost = {key: exact - value for key, value in zip(plain, uncorrected, strict=True)}
    lost |= {(kept, f"{name} + affine"): exact - value for (kept, name), value in zip(fitted_settings, afterwards, strict=True)}
    rows = [Row(kept, {variant: lost[kept, variant] for variant in COLUMNS}) for kept in KEPT]
    return Result(exact, rows, fitted - started, (done - fitted) / len(found))


def table(results: Mapping[str, Result]) -> str:
    """Markdown."""
    lines = [f"| network (exact) | kept | {' | '.join(COLUMNS)} |", f"| --- | --- |{' --- |' * len(COLUMNS)}"]
    for name, result in results.items():
        for row in result.rows:
            losses = " | ".join(f"{row.losses_pp[variant]:.1f}" for variant in COLUMNS)
            lines.append(f"| `{name}` ({result.exact:.1f} %) | {row.kept} | {losses} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(CASES)}; all if none is named")
    parser.add_argument("--write", action="store_true", help="put the table into docs/calibration.md")
    options = parser.parse_args()
    registry = plugins.load()
    device = registry.get("backend", "opencl").open({})
    results = {}
    for name in options.networks or CASES:
        with TemporaryDirectory() as folder:
            results[name] = measure(name, device, registry, Path(folder))
        seconds = f"{results[name].fit_s:.0f} s of statistics, fits and choices; {results[name].correction_s:.1f} s per correction"
        print(f"{name}: {seconds}", file=sys.stderr, flush=True)
    print(table(results))
    if options.write:
        begin, end = MARKS
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
        PAGE.write_text(f"{before}{begin}\n{table(results)}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
    device.close()


if __name__ == "__main__":
    main()
