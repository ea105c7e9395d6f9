"""All techniques at once beside the best that other engines can do, in float32 and in 8-bit integers.

    MOBIPROX_DATA=../shared/data python benchmarks/rivals.py [--out DIR] [--write] [NETWORK ...]

Runs the recipes in examples/all (minutes each), and takes two levels: the fastest that loses at most a point of test data, and the fastest that
loses no more than the fastest 8-bit engine does, as far as the test data tell: beyond it by at most a standard error of that engine's loss
(where it loses nothing, one image more would else be too much). Both are then timed beside our exact network, every exact engine that is installed, and
ONNX Runtime and OpenVINO on ONNX Runtime's static quantisation, calibrated on the inputs that our levels are fitted to: taking turns in one
run, batch 1, all threads. Losses are on test data, against the exact network; no choice but that of these levels looked at them.

One JSON per network is left in DIR (runs/rivals), so what was interrupted goes on where it was, searches too; networks that are named are timed
anew. --write puts the table of all of DIR into docs/reduced_precision.md, and below it which bars are kept. Leave the machine alone
meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from recipes import described, fastest, geometric_mean, loss_pp, put, search

from mobiprox_core import experiment as experiments
from mobiprox_core import pipeline, plugins
from mobiprox_core.bench import engines
from mobiprox_core.bench.comparison import EXACT, Request, bench
from mobiprox_core.bench.task import Task
from mobiprox_core.errors import MobiproxError
from mobiprox_core.plugins import Registry
from mobiprox_core.progress import ProgressPrinter
from mobiprox_core.resolve import Resolved, resolve

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "examples" / "all"
OURS = "Mobiprox"
PAGE = ROOT / "docs" / "reduced_precision.md"
MARKS = "<!-- rivals: made by benchmarks/rivals.py -->", "<!-- end of rivals -->"
MOST_LOSS_PP = 1.0
INPUTS = 400
"""Calibration inputs of the quantised engines, at most."""
ROUNDS, BLOCK_S = 8, 0.15
BARS = {"speedup": (2.5, "the best exact engine"), "over quantised": (1.15, "the fastest 8-bit engine")}
"""What the geometric means should be at least, and over whom."""

Run = Callable[[np.ndarray], np.ndarray]


def measure(name: str, out: Path, registry: Registry) -> Path:
    """The search, the losses of quantised engines, and everything timed together; the file with what it came to."""
    experiment = experiments.load(RECIPES / f"{name}.yaml", registry)
    print(name, file=sys.stderr, flush=True)
    summary = search(experiment, registry, out / name, pipeline.DEFAULT_EFFORT)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        resolved = resolve(experiment, registry)
        model, inputs = folder / f"{name}.onnx", folder / "calibrate.npy"
        model.write_bytes(resolved.network.to_bytes())
        given = resolved.tune.inputs if resolved.calibrate is None else resolved.calibrate
        np.save(inputs, given[:INPUTS])
        losses = quantised_losses(resolved, model, given[:INPUTS])
        levels = {most: fastest(summary, most) for most in (MOST_LOSS_PP, *(limit(*loss) for loss in losses.values()))}
        spelt = {most: settings(level) for most, level in levels.items()}
        request = Request(
            *(model, None, tuple(dict.fromkeys(text for text in spelt.values() if text != EXACT))),
            backend=experiment.backend.name,
            options=experiment.backend.options,
            calibrate=inputs,
            quantised=True,
            rounds=ROUNDS,
            block_s=BLOCK_S,
        )
        with ProgressPrinter() as progress:
            timed = bench(request, registry, progress)
    ms = {contender["setting"] or contender["engine"]: contender["median_ms"] for contender in timed["contenders"]}
    result = {
        "exact_ms": {engine: ms[engine] for engine in (EXACT, *engines.installed()) if engine in ms},
        "quantised": {
            engine: {"ms": ms[engine], "loss_pp": loss[0], "most_pp": limit(*loss)} for engine, loss in losses.items() if engine in ms
        },
        "levels": [{"most_pp": most, "ms": ms[text], "loss_pp": loss_pp(levels[most]), "settings": text} for most, text in spelt.items()],
        "left_out": timed["left_out"],
        "noise": timed["noise"]["warnings"],
        "summary": summary,
    }
    target = out / f"{name}.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return target


def limit(loss: float, error: float) -> float:
    """What a level may lose that is put beside an 8-bit engine with this loss. error: the standard error of it."""
    return min(MOST_LOSS_PP, max(0.0, loss + error))


def settings(level: Mapping[str, Any]) -> str:
    """A level as `bench` takes it."""
    return "; ".join(f"{operator}: {setting}" for operator, setting in level["settings"].items()) or EXACT


def quantised_losses(resolved: Resolved, model: Path, calibrate: np.ndarray) -> dict[str, tuple[float, float]]:
    """Percentage points of test data that each quantised engine loses against the exact network, and the standard error of that."""
    test = resolved.test
    assert test.labels is not None
    task = Task(str(model), 1, (test.inputs[:1],), calibrate=calibrate)
    exact = _right(_onnxruntime(str(model)), test.inputs, test.labels)
    losses = {}
    with TemporaryDirectory() as folder:
        file = engines.quantised(task, folder)
        for name, load in {"onnxruntime-int8": _onnxruntime, "openvino-int8": _openvino}.items():
            if engines.RIVALS[name].is_installed:
                lost = 100 * (exact - _right(load(file), test.inputs, test.labels))
                losses[name] = float(lost.mean()), float(lost.std() / len(lost) ** 0.5)
    return losses


def _onnxruntime(file: str) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def _openvino(file: str) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU")
    return lambda x: np.asarray(compiled([x])[0])


def _right(run: Run, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which are right, run one by one: 1 or 0 for each."""
    return np.array([float(run(x[i : i + 1]).argmax() == labels[i]) for i in range(len(x))])


# ----------------------------------------------------------------------------------------------------------------------- the table


def beside(result: Mapping[str, Any]) -> dict[str, Any]:
    """The best exact engine and our fastest level; the fastest 8-bit engine and our fastest level that loses no more. Without the latter
    where the outputs of every 8-bit engine are too far off for `bench` to time it."""
    exact, exact_ms = min(result["exact_ms"].items(), key=lambda item: item[1])
    by_limit = {level["most_pp"]: level for level in result["levels"]}
    own = by_limit[MOST_LOSS_PP]
    found: dict[str, Any] = {"exact": (OURS if exact == EXACT else exact, exact_ms), "own": own, "speedup": exact_ms / own["ms"]}
    if not result["quantised"]:
        return found
    quantised, rival = min(result["quantised"].items(), key=lambda item: item[1]["ms"])
    safe = by_limit[rival["most_pp"]]
    return found | {
        "quantised": (quantised, rival["ms"], rival["loss_pp"]),
        "safe": safe,
        "over quantised": rival["ms"] / safe["ms"],
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, one row per network."""
    lines = [
        "| network | best exact engine | ms | ours, ms | loss, pp | speedup | best 8-bit engine | ms | loss, pp | ours, ms | loss, pp | speedup |",
        "| --- | --- | --: | --: | --: | --: | --- | --: | --: | --: | --: | --: |",
    ]
    found = {name: beside(result) for name, result in results.items()}
    for name, row in found.items():
        cells = [
            f"`{name}`",
            row["exact"][0],
            _ms(row["exact"][1]),
            _ms(row["own"]["ms"]),
            f"{row['own']['loss_pp']:.1f}",
            _times(row["speedup"]),
        ]
        if "quantised" in row:
            engine, ms, loss = row["quantised"]
            cells += [
                engine,
                _ms(ms),
                f"{loss:.1f}",
                _ms(row["safe"]["ms"]),
                f"{row['safe']['loss_pp']:.1f}",
                _times(row["over quantised"]),
            ]
        else:
            cells += ["too far off", *["-"] * 5]
        lines.append(f"| {' | '.join(cells)} |")
    mean = {key: f"*{_times(value)}*" for key, value in means(found.values()).items()}
    lines.append(f"| *geometric mean* | | | | | {mean['speedup']} | | | | | | {mean.get('over quantised', '')} |")
    return "\n".join(lines)


def means(found: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Geometric means of what `beside` found, by what it is called there; left out if it was found nowhere."""
    rows = list(found)
    every = {key: [row[key] for row in rows if key in row] for key in BARS}
    return {key: geometric_mean(values) for key, values in every.items() if values}


def verdicts(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Per bar whether the geometric mean keeps it, and which networks by themselves do not."""
    found = {name: beside(result) for name, result in results.items()}
    lines = []
    for key, mean in means(found.values()).items():
        least, rival = BARS[key]
        own = sorted((row[key], name) for name, row in found.items() if key in row)
        below = ", ".join(f"`{name}` ({_times(value)})" for value, name in own if value < least)
        lines.append(
            f"Over {rival}: {_times(mean)} in the geometric mean of {len(own)} networks; wanted: {_times(least)}"
            f" ({'kept' if mean >= least else 'MISSED'}). Below that by themselves: {below or 'none'}."
        )
    return lines


def _ms(value: float) -> str:
    return f"{value:.3g}"


def _times(value: float) -> str:
    return f"{value:.2f}x"


def main(arguments: Sequence[str] | None = None) -> int:
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(names)}; those that DIR lacks if none is named")
    parser.add_argument("--out", type=Path, default=Path("runs") / "rivals", help="where runs and results go")
    parser.add_argument("--write", action="store_true", help=f"put the table of everything that is in DIR into docs/{PAGE.name}")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.networks) - set(names)):
        parser.error(f"there is no recipe '{unknown[0]}'; there are: {', '.join(names)}")
    registry = plugins.load()
    failed = False
    for name in options.networks or [name for name in names if not (options.out / f"{name}.json").exists()]:
        try:
            measure(name, options.out, registry)
        except MobiproxError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name in names if (file := options.out / f"{name}.json").exists()}
    if not found:
        return 1
    text = "\n\n".join([table(found), *verdicts(found)])
    print(text)
    for name, result in found.items():
        for warning in result["noise"]:
            print(f"{name}: {warning}", file=sys.stderr)
    if options.write:
        put(f"{text}\n\n{described(next(iter(found.values()))['summary'])}", PAGE, MARKS)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
