"""Reduced precision beside ONNX Runtime: speed, and accuracy on test data that no calibration has seen.

    MOBIPROX_DATA=../shared/data python benchmarks/reduced_precision.py speed|accuracy [--out DIR] [--write] [NETWORK ...]

Every operator runs in one precision: deliberately uniform, a search would mix. Sampling leaves out every second granule of four channels, in
all convolutions but the first, and fits the others. ONNX Runtime's INT8 is its own static quantisation (QDQ, weights per channel,
activations uint8) on the same calibration inputs. Where the CPU has AVX-512, `speed` times int8 on AVX2 as well, in the same rounds.

One JSON per network is left in DIR (runs/reduced_precision), so an interrupted run goes on where it was; networks that are named are measured
anew. --write puts the table of all of DIR into docs/reduced_precision.md. At the end stands which bars are kept. About half a minute a
network, VGG16 a few minutes where its calibration is not in the cache. Leave the machine alone during `speed`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
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
from mobiprox_core.errors import MobiproxError
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
FP32, INT8 = "ONNX Runtime FP32", "ONNX Runtime INT8"
ON_AVX2 = " on AVX2"
SEVEN = "int8, 7-bit weights"
COLUMNS = ("int8", SEVEN, "int8 + sampling", "bf16", INT8)
"""Of the table of accuracies."""
HEADS = {
    "speed": "| network | precision | ms | over ONNX Runtime FP32 | over ONNX Runtime INT8 | over our exact network |\n| --- | --- | --: | --: | --: | --: |",
    "accuracy": f"| network | test inputs | exact | standard error | {' | '.join(COLUMNS)} |\n| --- | --: | --: | --: |{' --: |' * len(COLUMNS)}",
}
ROUNDS, BLOCK_S, PAUSE_S = 12, 0.15, 0.05  # the pause lets the threads of whoever ran before come to rest
STEADY = 1.15
"""A contender whose rounds take so many times the least of them, in the median, was disturbed."""
FASTER = {
    ("vgg16_cifar10", "int8", FP32): 3.5,
    ("vgg16_cifar10", "int8", INT8): 0.95,
    ("vgg16_cifar10", "int8 + sampling", FP32): 5.5,
    ("vgg16_cifar10", "int8 + sampling", INT8): 1.5,
    ("vgg16_cifar10", "bf16", FP32): 1.6,
    ("cifar10_resnet20", "int8", FP32): 2.0,
    ("kws_honk_res8", "int8", FP32): 2.0,
    ("imagenet_mobilenet_v2_int8w", "int8", FP32): 1.6,
    **{
        (name, f"{SEVEN}{ON_AVX2}", f"exact{ON_AVX2}"): 1.5
        for name in ("vgg16_cifar10", "cifar10_resnet20", "kws_honk_res8", "imagenet_mobilenet_v2_int8w")
    },
}
"""Network, precision, what it is beside: how many times as fast it should be at least, on a CPU with VNNI and BF16."""
LOST = {
    ("cifar10_resnet20", "int8"): 0.5,
    ("kws_honk_res8", "int8"): 0.5,
    ("cifar10_resnet20", SEVEN): 0.5,
    ("kws_honk_res8", SEVEN): 0.5,
    ("vgg16_cifar10", "bf16"): 0.2,
}
"""Network, precision: the percentage points that it may lose."""

Result = Mapping[str, Any]


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
    "cifar10_resnet56": Case("cifar10", "train", ("test", "test_jpeg_a", "test_jpeg_b")),
    "kws_honk_res8_narrow": Case("keywords", "tune", ("test",)),
    "mobilenet_uci-har": Case("har", "train", ("test",)),
    "imagenet_mobilenet_v2_int8w": Case(None, inputs=24),
}


class Bench:
    """One network on one device, with ONNX Runtime beside it. narrow: the same device with narrower instructions, if it is to be timed too."""

    def __init__(self, name: str, registry: Registry, device: Device, folder: Path, narrow: Device | None = None) -> None:
        self.case, self.registry, self.device, self.folder, self.narrow = CASES[name], registry, device, folder, narrow
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

    def configurations(self, features: Sequence[str]) -> dict[str, Configuration]:
        """By name; those that a CPU with these features can do."""
        chosen = {"int8": "int8", "int8 + sampling": f"{SAMPLED} + int8", SEVEN: "int8(weights=7)"}
        if "avx512_bf16" in features:
            chosen["bf16"] = "bf16"
        found = {name: Configuration({op.name: self._legal(op, text) for op in self.graph.operators}) for name, text in chosen.items()}
        return {name: configuration for name, configuration in found.items() if configuration.settings}

    def _legal(self, op: Operator, text: str) -> Setting:
        first = next(o for o in self.graph.operators if o.kind == "conv")
        parts = [part for part in Setting.parse(text) if part.technique != "filter_sampling" or (op.kind == "conv" and op is not first)]
        options: Mapping[str, Mapping[str, Any]] = {"int8": {"weights": [8, 7]}, "filter_sampling": {"granules": [4]}}
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


def speed(bench: Bench) -> Result:
    """Milliseconds of each precision, of the least disturbed round, and how many times as long the median round took."""
    threads, x = bench.device.info.threads, bench.inputs[:1]
    said("ONNX Runtime's quantisation")
    contenders: dict[str, Callable[[], object]] = {}
    for name, file in ((FP32, bench.file), (INT8, bench.quantised_by_onnxruntime())):
        contenders[name] = partial(bench.session(file, threads), x)
    said("calibration and compilation")
    chosen = bench.configurations(bench.device.info.features)
    seven = {name: level for name, level in chosen.items() if name == SEVEN}
    usual = chosen if "avx512_vnni" not in bench.device.info.features else {n: level for n, level in chosen.items() if n not in seven}
    with ExitStack() as opened:
        for device, levels, where in ((bench.device, usual, ""), (bench.narrow, seven, ON_AVX2)):
            if device is not None:
                plan = lower(bench.graph, device.info, bench.techniques, {}, list(levels.values()), statistics=bench.calibration)
                runner = opened.enter_context(closing(device.load(plan)))
                contenders |= {f"{name}{where}": partial(at_level, runner, i, x) for i, name in enumerate(["exact", *levels])}
        said(f"{ROUNDS} rounds")
        rounds = [{name: block(run) for name, run in contenders.items()} for _ in range(ROUNDS)]
    least = {name: min(of[name] for of in rounds) for name in contenders}
    return {"ms": least, "disturbed": {name: median(of[name] for of in rounds) / ms for name, ms in least.items()}}


def speed_rows(name: str, found: Result) -> list[str]:
    ms = found["ms"]
    rows = []
    for precision in ms:
        own = f"exact{ON_AVX2}" if precision.endswith(ON_AVX2) else "exact"
        ratios = ["-" if rival == precision else f"{ms[rival] / ms[precision]:.2f}" for rival in (FP32, INT8, own)]
        rows.append(f"| `{name}` | {precision} | {ms[precision]:.3f} | {' | '.join(ratios)} |")
    return rows


def speed_bars(name: str, found: Result) -> list[str]:
    """What was promised of a network, and whether it is so; and what was disturbed."""
    lines = []
    for (network, precision, rival), least in FASTER.items():
        if network == name and precision in (ms := found["ms"]):
            ratio = ms[rival] / ms[precision]
            lines.append(
                f"{'kept' if ratio >= least else 'MISSED'}: {name}, {precision}: {ratio:.2f} times as fast as {rival}; wanted: {least}"
            )
    disturbed = ", ".join(f"{what} {ratio:.2f}" for what, ratio in found["disturbed"].items() if ratio > STEADY)
    return [*lines, *([f"disturbed: {name}: median round over the least: {disturbed}"] if disturbed else [])]


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


def accuracy(bench: Bench) -> Result:
    """Percent right on test data, exactly, and the points lost by each; nothing for a network without test data."""
    if bench.case.dataset is None:
        return {}
    said("calibration and compilation")
    chosen = bench.configurations(bench.device.info.features)
    parts = [bench.samples(split) for split in bench.case.test]
    x, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    right: dict[str, float] = {}
    size = bench.network.batch or BATCH
    plan = lower(bench.network.at_batch(size), bench.device.info, bench.techniques, {}, list(chosen.values()), statistics=bench.calibration)
    said(f"{len(x)} test inputs")
    with closing(bench.device.load(plan)) as runner:
        for level, name in enumerate(["exact", *chosen]):
            runner.set_level(level)
            right[name] = share(lambda part: np.asarray(runner.run(part)), x, labels, size)
    run = bench.session(bench.quantised_by_onnxruntime(), bench.device.info.threads)
    right[INT8] = share(run, x, labels, 1)
    exact = right.pop("exact")
    return {"inputs": len(x), "exact": exact, "lost": {name: exact - percent for name, percent in right.items()}}


def accuracy_rows(name: str, found: Result) -> list[str]:
    if not found:
        return []
    exact, lost = found["exact"], found["lost"]
    error = (exact * (100 - exact) / found["inputs"]) ** 0.5
    cells = [f"{lost[column]:.2f}" if column in lost else "" for column in COLUMNS]
    return [f"| `{name}` | {found['inputs']} | {exact:.2f} % | {error:.1f} | {' | '.join(cells)} |"]


def accuracy_bars(name: str, found: Result) -> list[str]:
    """What was promised of a network, and whether it is so."""
    return [
        f"{'kept' if lost <= most else 'MISSED'}: {name}, {precision}: loses {lost:.2f} points; wanted: at most {most}"
        for (network, precision), most in LOST.items()
        if network == name and (lost := found["lost"].get(precision)) is not None
    ]


def share(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, labels: np.ndarray, size: int) -> float:
    """Percent that are right, in batches of a size; the last one is filled up."""
    found = []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        found.append(run(padded).reshape(size, -1).argmax(1)[: len(part)])
    return 100 * float(np.mean(np.concatenate(found) == labels))


def said(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "accuracy"])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(CASES)}; those that DIR lacks if none is named")
    parser.add_argument("--out", type=Path, default=Path("runs") / "reduced_precision", metavar="DIR", help="where results go")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help=f"put the table of everything that is in DIR into docs/{PAGE.name}")
    given = parser.parse_intermixed_args(arguments)
    if unknown := sorted(set(given.networks) - set(CASES)):
        parser.error(f"no case is called '{unknown[0]}'; there are: {', '.join(CASES)}")
    registry = plugins.load()
    opencl = registry.get("backend", "opencl")
    device = opencl.open({"threads": given.threads})
    narrow = opencl.open({"threads": given.threads, "isa": "avx2"}) if given.what == "speed" and device.info.isa == "avx512" else None
    where = f"{device.info.name}, {device.info.isa} {' '.join(device.info.features)}, {given.threads} thread(s), {device.info.runtime}"
    measure, rows, bars = {"speed": (speed, speed_rows, speed_bars), "accuracy": (accuracy, accuracy_rows, accuracy_bars)}[given.what]
    failed = False
    found: dict[str, Result] = {}
    for name in CASES:
        file = given.out / given.what / f"{name}.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        wanted = name in given.networks if given.networks else known is None or known["where"] != where
        print(f"{name}: {'measuring' if wanted else 'measured before' if known else 'not measured'}", file=sys.stderr, flush=True)
        if wanted:
            try:
                with TemporaryDirectory() as folder:
                    known = {"where": where, "found": measure(Bench(name, registry, device, Path(folder), narrow))}
            except MobiproxError as error:
                print(f"error: {name}: {error}", file=sys.stderr)
                failed = True
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        if known and known["where"] == where:
            found[name] = known["found"]
    table = "\n".join([HEADS[given.what], *(row for name, result in found.items() for row in rows(name, result))])
    print(table)
    for line in (line for name, result in found.items() if result for line in bars(name, result)):
        print(line, file=sys.stderr)
    if given.write:
        put(f"{table}\n\nMeasured on {where}.", PAGE, MARKS[given.what])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
