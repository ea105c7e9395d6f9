"""Reduced precision beside ONNX Runtime: speed, and accuracy on test data that no calibration has seen.

    MOBIPROX_DATA=../shared/data python benchmarks/reduced_precision.py speed|accuracy [--isa ISA] [--threads N] [--write] [NETWORK ...]

Every operator runs in one precision: deliberately uniform, a search would mix. Sampling leaves out every second granule of four channels, in
all convolutions but the first, and fits the others. ONNX Runtime's INT8 is its own static quantisation (QDQ, weights per channel,
activations uint8) on the same calibration inputs. --write puts the table into docs/reduced_precision.md. What an interrupted `accuracy`
measured has to be measured again; a network takes seconds, VGG16 a few minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import numpy as np
from recipes import put

from mobiprox_core import plugins
from mobiprox_core.batches import BATCH
from mobiprox_core.bench import engines
from mobiprox_core.bench.task import Task
from mobiprox_core.configuration import EXACT, Configuration, Setting
from mobiprox_core.graph import Operator
from mobiprox_core.interfaces import Device, Runner
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.plugins import Registry
from mobiprox_core.statistics import Calibration

FOLDER = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[2] / "shared" / "data"))
PAGE = Path(__file__).parents[1] / "docs" / "reduced_precision.md"
MARKS = {what: (f"<!-- {what}: made by benchmarks/reduced_precision.py -->", f"<!-- end of {what} -->") for what in ("speed", "accuracy")}
SAMPLED = "filter_sampling(granule=4, offset=0, refit=independent, stride=2)"
COLUMNS = ("int8", "int8 + sampling", "bf16", "ONNX Runtime INT8")
"""Of the table of accuracies."""
HEADS = {
    "speed": "| network | precision | ms | over ONNX Runtime FP32 | over ONNX Runtime INT8 | over our exact network |\n| --- | --- | --: | --: | --: | --: |",
    "accuracy": f"| network | test inputs | exact | standard error | {' | '.join(COLUMNS)} |\n| --- | --: | --: | --: |{' --: |' * len(COLUMNS)}",
}
ROUNDS, BLOCK_S, PAUSE_S = 12, 0.15, 0.05  # the pause lets the threads of whoever ran before come to rest


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and the splits of a data set that it is calibrated and tested on; None: random inputs, and no accuracy."""

    dataset: str | None
    calibrate: str = ""
    test: tuple[str, ...] = ()
    inputs: int = 400


CASES = {
    "cifar10_resnet20": Case("cifar10", "train", ("test", "test_jpeg_a", "test_jpeg_b")),
    "kws_honk_res8": Case("keywords", "tune", ("test",)),
    "vgg16_cifar10": Case("cifar10", "train", ("test",)),
    "kws_honk_trad": Case("keywords", "tune", ("test",)),
    "kws_honk_tpool3": Case("keywords", "tune", ("test",)),
    "alexnet2_cifar10": Case("cifar10", "train", ("test", "test_jpeg_a", "test_jpeg_b")),
    "mobilenet_uci-har": Case("har", "train", ("test",)),
    "imagenet_mobilenet_v2_int8w": Case(None, inputs=24),
}


class Bench:
    """One network on one device, with ONNX Runtime beside it."""

    def __init__(self, name: str, registry: Registry, device: Device, folder: Path) -> None:
        self.case, self.registry, self.device, self.folder = CASES[name], registry, device, folder
        self.network = Network.from_model(registry.get("frontend", "onnx").load({"path": f"{name}.onnx"}, FOLDER), name)
        self.file = folder / f"{name}.onnx"  # simplified: constants folded, for ONNX Runtime too
        self.file.write_bytes(self.network.to_bytes())
        self.techniques = {n: registry.get("technique", n) for n in registry.names("technique")}
        self.graph = self.network.at_batch(1)
        if self.case.dataset is None:
            rng = np.random.default_rng(0)
            self.inputs = rng.standard_normal((self.case.inputs, *self.graph.inputs[0].shape[1:])).astype(np.float32)
        else:
            self.inputs = self.samples(self.case.calibrate, self.case.inputs)[0]
        self.calibration = Calibration(self.network, device, self.inputs)

    def samples(self, split: str, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        dataset = self.registry.get("dataset", self.case.dataset or "")
        samples = dataset.load(split, {"path": str(FOLDER), **({} if limit is None else {"limit": limit})}, FOLDER)
        assert samples.labels is not None
        return samples.inputs, samples.labels

    def configurations(self) -> dict[str, Configuration]:
        """By name; those that this device can do."""
        whole = "int8" if "avx512_vnni" in self.device.info.features or self.device.info.isa == "generic" else "int8(activations=7)"
        chosen = {"int8": whole, "int8 + sampling": f"{SAMPLED} + {whole}"}
        if "avx512_bf16" in self.device.info.features:
            chosen["bf16"] = "bf16"
        return {name: Configuration({op.name: self._legal(op, text) for op in self.graph.operators}) for name, text in chosen.items()}

    def _legal(self, op: Operator, text: str) -> Setting:
        first = next(o for o in self.graph.operators if o.kind == "conv")
        parts = [part for part in Setting.parse(text) if part.technique != "filter_sampling" or (op.kind == "conv" and op is not first)]
        options: Mapping[str, Mapping[str, Any]] = {"int8": {"activations": [8, 7]}, "filter_sampling": {"granules": [4]}}
        fitting = [p for p in parts if p in self.techniques[p.technique].settings(op, self.graph, options.get(p.technique, {}))]
        return Setting(tuple(fitting)) if fitting else EXACT

    def quantised_by_onnxruntime(self) -> Path:
        return Path(engines.quantised(Task(str(self.file), 1, (), calibrate=self.inputs), str(self.folder)))

    def session(self, file: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: np.asarray(session.run(None, {name: x})[0])


def speed(bench: Bench) -> list[str]:
    """Milliseconds, and how many times as fast as either of ONNX Runtime's and as our exact network: of the least disturbed round of each."""
    threads, chosen = bench.device.info.threads, bench.configurations()
    x = bench.inputs[:1]
    contenders: dict[str, Callable[[], object]] = {}
    for name, file in (("ONNX Runtime FP32", bench.file), ("ONNX Runtime INT8", bench.quantised_by_onnxruntime())):
        contenders[name] = partial(bench.session(file, threads), x)
    plan = lower(bench.graph, bench.device.info, bench.techniques, {}, list(chosen.values()), statistics=bench.calibration)
    with closing(bench.device.load(plan)) as runner:
        for level, name in enumerate(["exact", *chosen]):
            contenders[name] = partial(at_level, runner, level, x)
        rounds = [{name: block(run) for name, run in contenders.items()} for _ in range(ROUNDS)]
    least = {name: min(of[name] for of in rounds) for name in contenders}
    rivals = ("ONNX Runtime FP32", "ONNX Runtime INT8", "exact")
    rows = []
    for name, ms in least.items():
        ratios = ["-" if rival == name else f"{least[rival] / ms:.2f}" for rival in rivals]
        rows.append(f"| `{bench.network.name}` | {name} | {ms:.3f} | {' | '.join(ratios)} |")
    return rows


def at_level(runner: Runner, level: int, x: np.ndarray) -> object:
    runner.set_level(level)
    return runner.run(x)


def block(run: Callable[[], object]) -> float:
    """Milliseconds per call, the median of some."""
    sleep(PAUSE_S)
    run()
    times, end = [], perf_counter() + BLOCK_S
    while perf_counter() < end or len(times) < 5:
        begin = perf_counter()
        run()
        times.append(1e3 * (perf_counter() - begin))
    return median(times)


def accuracy(bench: Bench) -> list[str]:
    """Percent right on test data, exactly, and the points lost by each; nothing for a network without test data."""
    if bench.case.dataset is None:
        return []
    chosen = bench.configurations()
    parts = [bench.samples(split) for split in bench.case.test]
    x, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    right: dict[str, float] = {}
    size = bench.network.batch or BATCH
    plan = lower(bench.network.at_batch(size), bench.device.info, bench.techniques, {}, list(chosen.values()), statistics=bench.calibration)
    with closing(bench.device.load(plan)) as runner:
        for level, name in enumerate(["exact", *chosen]):
            runner.set_level(level)
            right[name] = share(lambda part: np.asarray(runner.run(part)), x, labels, size)
    run = bench.session(bench.quantised_by_onnxruntime(), bench.device.info.threads)
    right["ONNX Runtime INT8"] = share(run, x, labels, 1)
    exact = right.pop("exact")
    found = {name: f"{exact - percent:.2f}" for name, percent in right.items()}
    cells = [found.get(name, "") for name in COLUMNS]
    return [f"| `{bench.network.name}` | {len(x)} | {exact:.2f} % | {(exact * (100 - exact) / len(x)) ** 0.5:.1f} | {' | '.join(cells)} |"]


def share(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, labels: np.ndarray, size: int) -> float:
    """Percent that are right, in batches of a size; the last one is filled up."""
    found = []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        found.append(run(padded).reshape(size, -1).argmax(1)[: len(part)])
    return 100 * float(np.mean(np.concatenate(found) == labels))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "accuracy"])
    parser.add_argument("networks", nargs="*", default=list(CASES), metavar="NETWORK")
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE.name}")
    given = parser.parse_intermixed_args(arguments)
    registry = plugins.load()
    device = registry.get("backend", "opencl").open({"isa": given.isa, "threads": given.threads})
    where = f"{device.info.name}, {device.info.isa} {' '.join(device.info.features)}, {given.threads} thread(s), {device.info.runtime}"
    rows = []
    with TemporaryDirectory() as folder:
        for name in given.networks:
            found = {"speed": speed, "accuracy": accuracy}[given.what](Bench(name, registry, device, Path(folder)))
            print("\n".join(found), file=sys.stderr, flush=True)
            rows += found
    table = "\n".join([HEADS[given.what], *rows])
    print(table)
    if given.write:
        put(f"{table}\n\nMeasured on {where}.", PAGE, MARKS[given.what])


if __name__ == "__main__":
    main()
