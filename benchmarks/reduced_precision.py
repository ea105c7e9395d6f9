"""Reduced precision beside ONNX Runtime: speed, and accuracy on test data that no calibration has seen.

    MOBIPROX_DATA=../shared/data python benchmarks/reduced_precision.py speed|accuracy [--isa ISA] [--threads N] [NETWORK ...]

Every operator runs in one precision: deliberately uniform, a search would mix. Sampling leaves out every second granule of four channels, in
all convolutions but the first, and fits the others. ONNX Runtime's INT8 is its own static quantisation (QDQ, weights per channel,
activations uint8) on the same calibration inputs. Prints the rows of the tables in docs/reduced_precision.md.
"""

from __future__ import annotations

import argparse
import os
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

from mobiprox_core import plugins
from mobiprox_core.batches import BATCH
from mobiprox_core.configuration import EXACT, Configuration, Setting
from mobiprox_core.graph import Operator
from mobiprox_core.interfaces import Device, Runner
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.plugins import Registry
from mobiprox_core.statistics import Calibration

FOLDER = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[2] / "shared" / "data"))
SAMPLED = "filter_sampling(granule=4, offset=0, refit=independent, stride=2)"
ROUNDS, BLOCK_S, PAUSE_S = 12, 0.15, 0.05  # the pause lets the threads of whoever ran before come to rest


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and the splits of a data set that it is calibrated and tested on; None: random inputs, and no accuracy."""

    dataset: str | None
    calibrate: str = ""
    test: tuple[str, ...] = ()
    inputs: int = 400


CASES = {
    "vgg16_cifar10": Case("cifar10", "train", ("test",)),
    "cifar10_resnet20": Case("cifar10", "train", ("test", "test_jpeg_a", "test_jpeg_b")),
    "kws_honk_res8": Case("keywords", "tune", ("test",)),
    "alexnet2_cifar10": Case("cifar10", "train", ("test",)),
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
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared, quantised = (self.folder / f"{self.file.stem}-{what}.onnx" for what in ("prepared", "int8"))
        quant_pre_process(str(self.file), str(prepared), skip_symbolic_shape=True)
        feeds = iter([{self.graph.inputs[0].name: x[None]} for x in self.inputs])

        class Reader(CalibrationDataReader):
            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(feeds, None)

        quantize_static(
            str(prepared),
            str(quantised),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return quantised

    def session(self, file: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: np.asarray(session.run(None, {name: x})[0])


def speed(bench: Bench) -> None:
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
    for name in contenders:
        least = {name: min(of[name] for of in rounds) for name in contenders}
        ratios = [least[rival] / least[name] for rival in ("ONNX Runtime FP32", "ONNX Runtime INT8", "exact")]
        print(f"| {bench.network.name} | {name} | {least[name]:.3f} | {' | '.join(f'{r:.2f}' for r in ratios)} |", flush=True)


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


def accuracy(bench: Bench) -> None:
    """Percent right on test data, and the loss in points."""
    if bench.case.dataset is None:
        return
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
    right["ONNX Runtime INT8"] = share(run, x, labels, size)
    for name, percent in right.items():
        print(f"| {bench.network.name} | {name} | {len(x)} | {percent:.2f} | {right['exact'] - percent:.2f} |", flush=True)


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
    given = parser.parse_intermixed_args(arguments)
    registry = plugins.load()
    device = registry.get("backend", "opencl").open({"isa": given.isa, "threads": given.threads})
    print(f"{device.info.name}, {device.info.isa} {' '.join(device.info.features)}, {given.threads} thread(s)")
    with TemporaryDirectory() as folder:
        for name in given.networks:
            {"speed": speed, "accuracy": accuracy}[given.what](Bench(name, registry, device, Path(folder)))


if __name__ == "__main__":
    main()
