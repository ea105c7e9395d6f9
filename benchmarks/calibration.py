"""What fitting to calibration inputs saves, and what it costs.

    MOBIPROX_DATA=../shared/data python benchmarks/calibration.py losses [--write] [NETWORK ...]
    MOBIPROX_DATA=../shared/data python benchmarks/calibration.py cost [NETWORK ...]
    MOBIPROX_DATA=../shared/data python benchmarks/calibration.py latency [NETWORK ...]

losses: one setting on all convolutions but the first, deliberately extreme, a search would mix. Accuracy lost on test data, in percentage
points: the paper's rescaling, as many elements fitted (of the offsets each operator takes the one that changes the outputs least on
calibration inputs that nothing is fitted to), as many chosen and fitted, and both corrected (recalibrate: affine). Calibration inputs are
disjoint from test inputs; their labels are not looked at. --write puts the rows into docs/calibration.md.

cost: seconds and memory that the statistics and all fits and choices of a network take, from nothing, and seconds of one recalibration.

latency: whole inferences at batch 1 with fitted, with chosen and with corrected settings, against the paper's that leaves out as much,
side by side; for filter sampling and for perforation.

Everything runs on the default OpenCL device.
"""

from __future__ import annotations

import argparse
import os
import resource
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from mobiprox_core import plugins
from mobiprox_core.batches import BATCH, filled
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, KnobSpace, Setting
from mobiprox_core.correction import CorrectionsOf, Grade, none
from mobiprox_core.interfaces import Device, Samples, Technique
from mobiprox_core.lab import Lab, median_and_ci, scores, through
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.plugins import Registry
from mobiprox_core.qos import divergence
from mobiprox_core.recalibration import Recalibrator
from mobiprox_core.statistics import Calibration

FOLDER = Path(os.environ.get("MOBIPROX_DATA", Path(__file__).parents[2] / "shared" / "data"))

PAGE = Path(__file__).parents[1] / "docs" / "calibration.md"
MARKS = "<!-- uniform settings: made by benchmarks/calibration.py -->", "<!-- end of uniform settings -->"

COLUMNS = ("rescaled", "refit", "chosen", "refit + affine", "chosen + affine")

KEPT = {"3/4": (4, "keep=3, of=4"), "2/3": (3, "keep=2, of=3"), "1/2": (2, "keep=1, of=2")}
"""What is kept -> the stride that keeps as much, and how a choice says it."""

INPUTS = 500
"""Calibration inputs that are fitted to."""

HELD_OUT = 96
"""Calibration inputs more, by which offsets are chosen."""

FEW = 100
"""Calibration inputs where only latency is of interest."""

TIMED_S = 8.0
"""How long the levels of one row are timed, all together."""

GRADES: tuple[Grade, Grade] = ("affine", "full")


@dataclass(frozen=True, slots=True)
class Case:
    """What a network is tried on: splits of a data set."""

    dataset: str
    calibrate: str
    test: str


CIFAR10, KEYWORDS, HAR = Case("cifar10", "train", "test"), Case("keywords", "tune", "test"), Case("har", "train", "test")

CASES = {
    "kws_honk_res8": KEYWORDS,
    "kws_honk_trad": KEYWORDS,
    "kws_honk_tpool3": KEYWORDS,
    "cifar10_resnet20": CIFAR10,
    "alexnet2_cifar10": CIFAR10,
    "mobilenet_uci-har": HAR,
}

COSTLY = {"cifar10_resnet20": CIFAR10, "vgg16_cifar10": CIFAR10}


class Bench:
    """A network on a device with its calibration inputs, and where what is known of them is kept."""

    def __init__(self, name: str, case: Case, device: Device, registry: Registry, folder: Path, inputs: int = INPUTS) -> None:
        self.case = case
        self.device = device
        self.registry = registry
        self.network = Network.from_model(registry.get("frontend", "onnx").load({"path": f"{name}.onnx"}, FOLDER), name)
        self.graph = self.network.at_batch(BATCH)
        given = self.samples(case.calibrate, inputs + HELD_OUT).inputs
        is_held = np.zeros(len(given), bool)
        is_held[np.linspace(0, len(given) - 1, min(HELD_OUT, len(given) // 4)).astype(int)] = True
        self.held_out = given[is_held]
        self.known = Calibration(self.network, device, given[~is_held], folder=folder)
        self.techniques: dict[str, Technique] = {name: registry.get("technique", name) for name in ("filter_sampling", "perforation")}
        self.inner = [op.name for op in self.graph.operators if op.kind == "conv"][1:]

    def samples(self, split: str, limit: int | None) -> Samples:
        where = {"path": str(FOLDER.resolve())}
        dataset = self.registry.get("dataset", self.case.dataset)
        return dataset.load(split, where if limit is None else {**where, "limit": limit}, FOLDER)

    def everywhere(self, setting: str) -> Configuration:
        """On all inner convolutions."""
        return Configuration(dict.fromkeys(self.inner, Setting.parse(setting)))

    def best(self, settings: Sequence[Setting]) -> Configuration:
        """For every inner convolution the setting that, alone, changes the outputs on the held out inputs least."""
        ends_in_softmax = any(op.kind == "softmax" for op in self.graph.operators)
        space = dict.fromkeys(self.inner, settings)
        plan = lower(self.graph, self.device.info, self.techniques, space, keep_activations=True, statistics=self.known)
        changed = np.zeros((len(self.inner), len(settings)))
        exact = [0] * len(plan.operators)
        places = [place for place, op in enumerate(self.graph.operators) if op.name in space]
        with closing(self.device.load(plan)) as runner:
            for start in range(0, len(self.held_out), BATCH):
                part = self.held_out[start : start + BATCH]
                runner.select(exact)
                wanted = scores(runner.run(filled(part, BATCH))).copy()
                for row, place in reversed(list(enumerate(places))):
                    numbers = [variant.setting for variant in plan.operators[place].variants]
                    for column, setting in enumerate(settings):
                        runner.select([*exact[:place], numbers.index(setting), *exact[place + 1 :]])
                        changed[row, column] += divergence(wanted, scores(runner.resume(place)), ends_in_softmax)[: len(part)].sum()
        return Configuration({name: settings[int(row.argmin())] for name, row in zip(self.inner, changed, strict=True)})

    def configurations(self) -> dict[tuple[str, str], Configuration]:
        """(what is kept, variant) -> the paper's sampling, the same fitted, and as many elements chosen."""
        found = {}
        for kept, (stride, choice) in KEPT.items():
            fitted = [Setting.parse(f"filter_sampling(offset={i}, refit=independent, stride={stride})") for i in range(stride)]
            found[kept, "rescaled"] = self.everywhere(f"filter_sampling(offset=0, stride={stride})")
            found[kept, "refit"] = self.best(fitted)
            found[kept, "chosen"] = self.everywhere(f"filter_sampling(choose=error, {choice})")
        return found


# ----------------------------------------------------------------------------------------------------------------------- losses


@dataclass(frozen=True, slots=True)
class Row:
    """Points lost by each variant, at what is kept."""

    kept: str
    losses_pp: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """One network: what was approximated, and exact accuracy in per cent."""

    where: str
    exact: float
    rows: Sequence[Row]


def measure(name: str, device: Device, registry: Registry, folder: Path, tests: int | None = None) -> Result:
    """folder: for what is kept of statistics and fits. tests: inputs at most."""
    bench = Bench(name, CASES[name], device, registry, folder)
    test = bench.samples(bench.case.test, tests)
    assert test.labels is not None
    labels = test.labels

    def accuracies(levels: Sequence[Configuration], corrections: CorrectionsOf) -> list[float]:
        """Of the exact network and these, in per cent."""
        plan = lower(
            bench.graph,
            device.info,
            bench.techniques,
            {},
            [EXACT_CONFIGURATION, *levels],
            statistics=bench.known,
            corrections=corrections,
        )
        with closing(device.load(plan)) as runner:
            right = []
            for level in range(len(plan.levels)):
                runner.set_level(level)
                right.append(float((through(runner, test.inputs).argmax(1) == labels).mean()) * 100)
        return right

    plain = bench.configurations()
    fitted = {key: configuration for key, configuration in plain.items() if key[1] != "rescaled"}
    recalibrator = Recalibrator(bench.known, bench.techniques, "affine")
    found = {configuration: recalibrator(configuration) for configuration in fitted.values()}
    exact, *uncorrected = accuracies(list(plain.values()), none)
    _, *afterwards = accuracies(list(fitted.values()), lambda configuration: found.get(configuration, {}))
    lost = {key: exact - value for key, value in zip(plain, uncorrected, strict=True)}
    lost |= {(kept, f"{name} + affine"): exact - value for (kept, name), value in zip(fitted, afterwards, strict=True)}
    rows = [Row(kept, {variant: lost[kept, variant] for variant in COLUMNS}) for kept in KEPT]
    return Result("second convolution" if len(bench.inner) == 1 else f"{len(bench.inner)} convolutions", exact, rows)


def lines(name: str, result: Result) -> list[str]:
    """Rows of the table, in Markdown."""
    found = []
    for row in result.rows:
        losses = " | ".join(f"{row.losses_pp[variant]:.1f}" for variant in COLUMNS)
        found.append(f"| `{name}` ({result.exact:.1f} %), {result.where} | {row.kept} | {losses} |")
    return found


HEAD = [f"| network (exact) | kept | {' | '.join(COLUMNS)} |", f"| --- | --- |{' --- |' * len(COLUMNS)}"]


def write(rows: Mapping[str, Sequence[str]]) -> None:
    """Put the rows of these networks into the page, in place of their old ones."""
    begin, end = MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    old, _, after = rest.partition(end)
    every = {name: [line for line in old.splitlines() if line.startswith(f"| `{name}`")] for name in CASES} | dict(rows)
    text = "\n".join([*HEAD, *(line for name in CASES for line in every[name])])
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def losses(names: Sequence[str], device: Device, registry: Registry, is_written: bool) -> None:
    rows = {}
    print("\n".join(HEAD))
    for name in names or CASES:
        with TemporaryDirectory() as folder:
            rows[name] = lines(name, measure(name, device, registry, Path(folder)))
        print("\n".join(rows[name]), flush=True)
    if is_written:
        write(rows)


# ------------------------------------------------------------------------------------------------------------------------- cost


def cost(names: Sequence[str], device: Device, registry: Registry) -> None:
    """Memory is the most that the process had up to then; name one network to know of it alone."""
    print("| network | fitted settings | statistics, fits and choices, s | recalibration, s: affine | full | most memory, GB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names or COSTLY:
        with TemporaryDirectory() as folder:
            bench = Bench(name, {**CASES, **COSTLY}[name], device, registry, Path(folder))
            technique = bench.techniques["filter_sampling"]
            offered = {op.name: [Setting((s,)) for s in technique.settings(op, bench.graph, {})] for op in bench.graph.operators}
            space = KnobSpace({op: tuple(settings) for op, settings in offered.items()})
            lab = Lab(bench.network, device, bench.techniques, bench.held_out[:1], bench.known)
            fitted = [op for op in space for setting in space[op] for knobs in setting if technique.needs_statistics(knobs)]
            fit_s = _seconds(partial(lab.fit, space, lambda progress: None))
            level = bench.everywhere("filter_sampling(choose=error, keep=1, of=2)")
            spent = [_correction_s(Recalibrator(bench.known, bench.techniques, grade), level) for grade in GRADES]
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| `{name}` | {len(fitted)} | {fit_s:.0f} | {spent[0]:.1f} | {spent[1]:.1f} | {most:.1f} |", flush=True)


def _correction_s(recalibrator: Recalibrator, level: Configuration) -> float:
    """Of one level, where others were corrected before: what the exact network gives is known."""
    recalibrator(Configuration(dict(list(level.settings.items())[:1])))
    return _seconds(partial(recalibrator, level))


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


# ---------------------------------------------------------------------------------------------------------------------- latency


def latency(names: Sequence[str], device: Device, registry: Registry) -> None:
    """Whole inferences, interleaved; each round is compared with the paper's setting in the same round."""
    print("| network | skipped | exact, ms | as in the paper, ms | over that: fitted | chosen | fitted + affine | chosen + full |")
    print(f"| --- | --- |{' --- |' * 6}")
    for name in names or CASES:
        with TemporaryDirectory() as folder:
            bench = Bench(name, CASES[name], device, registry, Path(folder), inputs=FEW)
            for stride in (4, 2):
                # A level is corrected by what it is; the corrected ones are spelt otherwise: another offset, as many of twice as many.
                plain, *others = (bench.everywhere(f"filter_sampling({knobs}, stride={stride})") for knobs in FITTED)
                chosen = [f"keep={times * (stride - 1)}, of={times * stride}" for times in (1, 2)]
                more = [bench.everywhere(f"filter_sampling(choose=error, {knobs})") for knobs in chosen]
                levels = [plain, others[0], more[0], others[1], more[1]]
                print(f"| `{name}` | 1 of {stride} elements | {' | '.join(_timed(bench, levels))} |", flush=True)
            levels = [bench.everywhere(f"perforation(axis=rows, {knobs}offset=1, stride=2)") for knobs in ("", "fill=fitted, ")]
            exact, mean, fitted = _timed(bench, levels)
            print(f"| `{name}` | 1 of 2 rows | {exact} | {mean} | {fitted} | | | |", flush=True)


FITTED = ("offset=0", "offset=0, refit=independent", "offset=1, refit=independent")


def _timed(bench: Bench, levels: Sequence[Configuration]) -> list[str]:
    """Milliseconds of the exact network and of the first level, then how many times as long the others take; the last two are corrected."""
    corrected = dict(zip(levels[3:], GRADES, strict=False))
    found = {level: Recalibrator(bench.known, bench.techniques, grade)(level) for level, grade in corrected.items()}
    plan = lower(
        bench.network.at_batch(1),
        bench.device.info,
        bench.techniques,
        {},
        [EXACT_CONFIGURATION, *levels],
        statistics=bench.known,
        corrections=lambda configuration: found.get(configuration, {}),
    )
    with closing(bench.device.load(plan)) as runner:
        runner.run(bench.held_out[:1])
        exact, plain, *others = runner.time(None, plan.levels, TIMED_S)
    ratios = [median_and_ci(other / plain) for other in others]
    return [f"{np.median(exact):.3f}", f"{np.median(plain):.3f}", *(f"{ratio:.3f} ± {half:.3f}" for ratio, half in ratios)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, dest="what", metavar="losses | cost | latency")
    for what, known in (("losses", CASES), ("cost", COSTLY), ("latency", CASES)):
        kind = kinds.add_parser(what)
        kind.add_argument("networks", nargs="*", metavar="NETWORK", help=f"all if none is named: {', '.join(known)}")
        if what == "losses":
            kind.add_argument("--write", action="store_true", help="put the rows into docs/calibration.md")
    options = parser.parse_args()
    registry = plugins.load()
    with closing(registry.get("backend", "opencl").open({})) as device:
        if options.what == "losses":
            losses(options.networks, device, registry, options.write)
        else:
            {"cost": cost, "latency": latency}[options.what](options.networks, device, registry)


if __name__ == "__main__":
    main()
