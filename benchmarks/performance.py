"""Times networks beside other engines and writes what it finds as a page with tables and a plot for each network.

    python benchmarks/performance.py                                   seven networks, every technique at strides 2, 3 and 4: a quarter of an hour
    python benchmarks/performance.py --networks vgg16-cifar,net.onnx   some of them, or any ONNX file; `all` for every one of the data folder
    python benchmarks/performance.py --quick --out /tmp/page.md        does it work? its numbers mean nothing

The networks are those of `networks.py` and of the data folder (MOBIPROX_DATA). Each is timed on the default OpenCL device against all
engines that are installed, and on the devices of other OpenCL runtimes against ONNX Runtime. Leave the machine alone meanwhile.

After every network the page is written, and the results beside it (--raw): the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import onnx
from networks import BUILT

from mobiprox_core import plugins
from mobiprox_core.bench.comparison import EXACT, Request, bench
from mobiprox_core.bench.engines import OURS, RIVALS, installed
from mobiprox_core.errors import MobiproxError
from mobiprox_core.interfaces import DeviceReport, ProgressSink
from mobiprox_core.progress import ProgressPrinter

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MOBIPROX_DATA", ROOT.parent / "shared" / "data"))
MEASURE = "onnxruntime"
"""The engine of the summary and the plots."""

USUAL = (*BUILT, "cifar10_resnet20", "kws_honk_trad", "kws_honk_res8")
"""The networks that are measured if none is named; those of the data folder where it is there."""

OPERATOR = ("vgg16-cifar", "conv2")
"""A network and an operator in it, 3x3 64 -> 64 on 32x32, whose speedups are compared with the ideal ones."""

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """A network on the default device, and on those of other runtimes. problem: why there is no result."""

    name: str
    result: Result | None = None
    others: Mapping[str, Result] = field(default_factory=dict)
    problem: str | None = None


def main() -> int:
    wanted = _arguments()
    settings = _settings((2,) if wanted.quick else (2, 3, 4))
    effort: dict[str, Any] = {"rounds": 1, "block_s": 0.02} if wanted.quick else {"rounds": wanted.rounds, "block_s": wanted.block}
    raw = wanted.raw or wanted.out.with_suffix(".partial.json")
    options = {"settings": settings, "threads": wanted.threads, **effort}
    known = _read_raw(raw, options)
    subjects = []
    with tempfile.TemporaryDirectory(prefix="mobiprox-networks-") as folder, ProgressPrinter() as progress:
        for name, path in _networks(wanted.networks, Path(folder)):
            print(f"{name}{': measured before' if name in known else ''}", file=sys.stderr)
            if name not in known:
                request = Request(path, settings=tuple(settings.values()), threads=wanted.threads, paying=True, **effort)
                known[name] = _timed(name, request, progress)
                _write_raw(raw, {"options": options, "networks": {name: asdict(subject) for name, subject in known.items()}})
            subjects.append(known[name])
            _write(wanted.out, subjects, settings, wanted)
    if wanted.raw is None:
        raw.unlink(missing_ok=True)
    print(wanted.out)
    return 1 if any(subject.problem for subject in subjects) else 0


def _timed(name: str, request: Request, progress: ProgressSink) -> Subject:
    try:
        result = bench(request, progress=progress)
        others = {}
        for device in _other_runtimes(result["device"]["runtime"]):
            rival = tuple({MEASURE} & set(installed()))
            there = replace(request, against=rival, threads=None, options={"device": device.index})
            others[device.info.runtime if device.info else device.name] = bench(there, progress=progress)
    except MobiproxError as error:
        print(f"error: {name}: {error}", file=sys.stderr)
        return Subject(name, problem=error.what)
    return Subject(name, result, others)


def _read_raw(file: Path, options: Mapping[str, Any]) -> dict[str, Subject]:
    """What was measured before an interruption, but for what failed."""
    if not file.is_file():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    if content["options"] != options:
        sys.exit(f"error: {file} was measured with other options\n  give the same ones, or delete it")
    subjects = (Subject(**values) for values in content["networks"].values())
    return {subject.name: subject for subject in subjects if subject.problem is None}


def _write_raw(file: Path, content: Mapping[str, Any]) -> None:
    temporary = file.with_suffix(".writing")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(file)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--networks", help=f"names or ONNX files, joined by commas, or all; if left out: {', '.join(USUAL)}")
    parser.add_argument("--quick", action="store_true", help="one short round, stride 2 only: to see that it works")
    parser.add_argument("--threads", type=int, help="of every engine; all that the device has if left out")
    parser.add_argument("--rounds", type=int, default=10, help="undisturbed rounds to aim at (10)")
    parser.add_argument("--block", type=float, default=0.1, help="seconds an engine is timed per round (0.1)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance.md", help="the page; plots go to a folder of its name")
    parser.add_argument("--raw", type=Path, help="keep the results themselves, as JSON; what is in there is not measured again")
    return parser.parse_args()


def _networks(chosen: str | None, folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files, the built ones written to a folder first."""
    known = {path.stem: path for path in sorted(DATA.glob("*.onnx"))}
    names = [*BUILT, *known] if chosen == "all" else chosen.split(",") if chosen else [n for n in USUAL if n in BUILT or n in known]
    for name in names:
        if name in BUILT:
            onnx.save(BUILT[name](), folder / f"{name}.onnx")
            yield name, folder / f"{name}.onnx"
        else:
            path = known.get(name, Path(name))
            if not path.is_file():
                sys.exit(f"error: no network is called '{name}'\n  there are: {', '.join([*BUILT, *known])}; or name an ONNX file")
            yield path.stem, path


def _settings(strides: Sequence[int]) -> dict[str, str]:
    """What columns are called -> what is set."""
    found: dict[str, str] = {}
    for stride in strides:
        rows, columns = (f"perforation(axis={axis}, offset=1, stride={stride})" for axis in ("rows", "columns"))
        sampling = f"filter_sampling(offset=0, stride={stride})"
        named = {"rows": rows, "columns": columns, "sampling": sampling, "rows + sampling": f"{rows} + {sampling}"}
        found |= {f"{name}, stride {stride}": setting for name, setting in named.items()}
    return {**found, "fp16 in memory": "fp16(arithmetic=float32)"}


def _other_runtimes(default: str) -> list[DeviceReport]:
    """The widest usable device of every OpenCL runtime but the default."""
    best: dict[str, DeviceReport] = {}
    for report in plugins.load().get("backend", "opencl").devices():
        if report.info is not None and report.info.runtime != default:
            known = best.get(report.info.runtime)
            if known is None or known.info is None or known.info.threads < report.info.threads:
                best[report.info.runtime] = report
    return list(best.values())


# ------------------------------------------------------------------------------------------------------------------------- the page


def _write(out: Path, subjects: Sequence[Subject], settings: Mapping[str, str], wanted: argparse.Namespace) -> None:
    plots = out.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    sections = []
    for subject in subjects:
        if subject.result is not None:
            (plots / f"{subject.name}.svg").write_text(_plot(subject, settings), encoding="utf-8")
        sections.append("\n".join(_section(subject, settings, f"{plots.name}/{subject.name}.svg")))
    measured = [subject for subject in subjects if subject.result is not None]
    head = _head(measured, settings, wanted) if measured else ["# Performance"]
    out.write_text("\n".join(head) + "\n\n" + "\n\n".join(sections) + "\n", encoding="utf-8")


def _head(subjects: Sequence[Subject], settings: Mapping[str, str], wanted: argparse.Namespace) -> list[str]:
    first = subjects[0].result
    assert first is not None
    machine, device, versions = first["machine"], first["device"], first["versions"]
    beside = {name: version for s in subjects if s.result for name, version in s.result["versions"]["engines"].items()}
    engines = ", ".join(f"{name} {version}" for name, version in beside.items())
    lines = [
        "# Performance",
        "",
        "Written by `python benchmarks/performance.py`; do not edit.",
        "",
        *(["**A quick run, to see that it works: these numbers mean nothing.**", ""] if wanted.quick else []),
        f"- Machine: {machine['processor']}, {machine['cores']} core(s), {machine['system']}.",
        f"- Mobiprox {versions['mobiprox']} on {device['name']}: {device['runtime']}, driver {device['driver']}, {device['isa']}; "
        f"{first['threads']} thread(s) for every engine, batch {first['model']['batch']}, float32.",
        f"- Beside it: {engines or 'nothing'}; PyTorch in eager mode. Every engine has a process of its own, loads the same file, and takes "
        "turns with the others in shuffled rounds.",
        "- A number is how many times as fast as the other engine Mobiprox is, above 1 = faster: the median over rounds, in brackets its "
        "95 % bootstrap interval. `?`: the rounds disagree, or the machine was too busy.",
        "- Settings are applied to every operator that they make at least 5 % faster here, so the same setting costs different networks "
        "different accuracy; how much is not the subject of this page. `mobiprox run` chooses by accuracy.",
        f"- Peak of the device: {max(s.result['peak_gflops'] for s in subjects if s.result):.0f} GFLOP/s ({first['peak_how']}).",
        "",
        f"## Against {MEASURE}",
        "",
    ]
    short = [name for name in ("rows, stride 2", "sampling, stride 2", "rows + sampling, stride 2") if name in settings]
    rows = []
    for subject in subjects:
        assert subject.result is not None
        rows.append([subject.name, *(_cell(subject.result, setting, MEASURE) for setting in (EXACT, *(settings[name] for name in short)))])
    lines += _table(["network", EXACT, *short], rows)
    lines += _ideal(subjects, settings)
    return [*lines, *_best(subjects)]


def _best(subjects: Sequence[Subject]) -> list[str]:
    """The exact network beside all other engines, and where it falls short of the best."""
    results = [subject.result for subject in subjects if subject.result and subject.result["versions"]["engines"]]
    engines = list(dict.fromkeys(engine for result in results for engine in result["versions"]["engines"]))
    if not engines:
        return []
    rows, short = [], []
    for result in results:
        name, peak = result["model"]["name"], result["peak_gflops"]
        ratios = {engine: _ratio(result, EXACT, engine) for engine in result["versions"]["engines"] if RIVALS[engine].is_exact}
        speed = {engine: ratio["ratio"] for engine, ratio in ratios.items() if ratio is not None}
        best = min(speed, key=lambda engine: speed[engine])
        took = {c["engine"]: c["median_ms"] for c in result["contenders"] if c["setting"] in (None, EXACT)}
        ours, other = (2 * result["model"]["batch"] * result["model"]["mmac"] / took[engine] / peak for engine in (OURS, best))
        shares = [f"{share:.0%}" for share in (ours, other, _share(result, "pool"))]
        rows.append([name, best, _cell(result, EXACT, best), *shares, *(_cell(result, EXACT, e) for e in engines)])
        if speed[best] < 1:
            short.append(f"- {name}: {_reason(result, best, other)}")
    head = ["network", "best of them", "times as fast", "of peak, ours", "of peak, best", "pooling", *engines]
    lines = ["", "## The exact network against the best engine", "", *_table(head, rows), "", LEGEND]
    return [*lines, "", "Where it falls short, and of what:", "", *short] if short else lines


LEGEND = (
    "Of peak: the multiply-adds that define the network, over the time of a whole inference and the measured peak. An engine near or above "
    "100 % computes fewer of them, as by Winograd's transform of 3x3 convolutions. Mobiprox computes every one that a level does not skip: "
    "perforation and sampling skip single outputs and filter elements, which the transform mixes. Pooling: its share of what our operators take, "
    "each timed alone, and so more than fusing it into the convolutions before it could save."
)


def _share(result: Result, kind: str) -> float:
    """Of the operators' time, what those of a kind take."""
    times = [(op["kind"], op["microseconds"]) for op in result["operators"]]
    return sum(time for of, time in times if of == kind) / max(sum(time for _, time in times), 1e-9)


def _reason(result: Result, best: str, rate: float) -> str:
    """Where our time goes beyond what the peak would allow, and whether the winner's rate can be had without leaving out work."""
    lost = {op["name"]: op["microseconds"] * max(0.0, 1 - (op["peak_share"] or 0)) for op in result["operators"]}
    worst = sorted(lost, key=lambda name: -lost[name])[:3]
    share = sum(lost[name] for name in worst) / max(sum(lost.values()), 1e-9)
    kinds = {
        op["name"]: f"{op['name']} ({op['kind']}, {op['microseconds']:.0f} us, {op['peak_share'] or 0:.0%} of peak)"
        for op in result["operators"]
    }
    how = f"{best} works at {rate:.0%} of the peak" + (", so it skips multiplications; " if rate > 1 else "; ")
    return f"{how}of what our operators lose against the peak, {share:.0%} is in {', '.join(kinds[name] for name in worst)}."


def _ideal(subjects: Sequence[Subject], settings: Mapping[str, str]) -> list[str]:
    """How near one operator comes to what its settings could save at most."""
    network, name = OPERATOR
    result = next((s.result for s in subjects if s.name == network), None)
    found = next((op for op in result["operators"] if op["name"] == name), None) if result else None
    if found is None:
        return []
    height, width = found["output"][2:]
    rows = []
    for label, setting in settings.items():
        speedup = found["settings"].get(setting, {}).get("speedup")
        stride = int(label.rpartition(" ")[2]) if "stride" in label else 0
        if not stride or not speedup:
            continue
        ideal = 1.0
        for what, length in (("rows", height), ("columns", width)):
            if what in label:
                ideal *= length / (length - len(range(1, length, stride)))
        if "sampling" in label:
            ideal *= stride / (stride - 1)
        rows.append([label, f"{speedup:.2f}", f"{ideal:.2f}", f"{speedup / ideal:.0%}"])
    shape = "x".join(map(str, found["output"]))
    head = ["", f"## One operator: {name} of {network}, output {shape}, timed alone", ""]
    return [*head, *_table(["setting", "times as fast as exact", "ideal", "of it"], rows)]


def _section(subject: Subject, settings: Mapping[str, str], plot: str) -> Iterator[str]:
    yield f"## {subject.name}\n"
    result = subject.result
    if result is None:
        yield f"Not measured: {subject.problem}"
        return
    size = f"{result['load_s']:.1f} s to load with all settings, {result['arena_bytes'] / 1e6:.1f} MB"
    yield f"{result['model']['mmac']:.4g} million multiply-adds; {size}.\n"
    yield f"![{subject.name}: times as fast as {MEASURE}]({plot})\n"
    contenders = {c["setting"] or c["engine"]: c for c in result["contenders"]}
    engines = list(result["versions"]["engines"])
    rows = []
    for name, setting in {EXACT: EXACT, **settings}.items():
        c = contenders[setting]
        ratios = [_cell(result, setting, other) for other in (*engines, f"mobiprox {EXACT}")]
        taken = "" if setting == EXACT else str(len(c["configuration"]))
        rows.append([name, taken, f"{c['median_ms']:.4g}", *ratios])
    rows += [[engine, "", f"{contenders[engine]['median_ms']:.4g}", *[""] * (len(engines) + 1)] for engine in engines]
    yield from _table(["setting", "operators", "ms", *(f"vs {engine}" for engine in engines), "vs exact"], rows)
    for runtime, other in subject.others.items():
        yield f"\nOn {runtime}, {other['device']['isa']}, {other['threads']} thread(s), against {MEASURE}:\n"
        chosen = {EXACT: EXACT, **settings}
        yield from _table(["setting", "ratio"], [[name, _cell(other, setting, MEASURE)] for name, setting in chosen.items()])
    for why in result["left_out"].values():
        yield f"\nNot beside it: {why}."
    for warning in result["noise"]["warnings"]:
        yield f"\nWarning: {warning}."
    yield "\n<details><summary>Operators</summary>\n"
    rows = []
    for op in result["operators"]:
        output = "" if op["output"] is None else "x".join(map(str, op["output"]))
        speed = ["", ""] if op["gflops"] is None else [f"{op['gflops']:.0f}", f"{op['peak_share']:.0%}"]
        speedups = [op["settings"].get(setting, {}).get("speedup") for setting in settings.values()]
        best = [f"{speedup:.2f}" if speedup else "" for speedup in speedups]
        rows.append([op["name"], op["kind"], output, f"{op['mmac']:.3g}", f"{op['microseconds']:.1f}", *speed, *best])
    yield from _table(["operator", "kind", "output", "MMAC", "us", "GFLOP/s", "of peak", *settings], rows)
    yield "\n</details>"


def _cell(result: Result, setting: str, against: str) -> str:
    ratio = _ratio(result, setting, against)
    if ratio is None:
        return "-"
    low, high = ratio["interval"]
    return f"{ratio['ratio']:.2f} ({low:.2f}-{high:.2f}){'' if ratio['certain'] else ' ?'}"


def _ratio(result: Result, setting: str, against: str) -> Mapping[str, Any] | None:
    return next((r for r in result["ratios"] if (r["setting"], r["against"]) == (setting, against)), None)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


# ------------------------------------------------------------------------------------------------------------------------- the plot

WIDTH, LABEL, BAR, GAP = 760, 200, 16, 8


def _plot(subject: Subject, settings: Mapping[str, str]) -> str:
    """Bars: how many times as fast as the measure each setting and each other engine is, with its interval; a line at 1.

    Without the measure, as fast as our exact network.
    """
    result = subject.result
    assert result is not None
    bars = list(_bars(result, settings))
    most = max(high for _, _, _, high, _ in bars) * 1.05
    scale = (WIDTH - LABEL - 70) / max(most, 1.2)
    height = (BAR + GAP) * len(bars) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(subject.name)}: times as fast as {_measure(result)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for index, (name, ratio, low, high, colour) in enumerate(bars):
        y = 8 + index * (BAR + GAP)
        middle = y + BAR / 2
        parts += [
            f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{ratio * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<path d="M{LABEL + low * scale:.1f} {middle}H{LABEL + high * scale:.1f}" stroke="#222" stroke-width="1.5"/>',
            f'<text x="{LABEL + high * scale + 6:.1f}" y="{middle + 4}">{ratio:.2f}</text>',
        ]
    bottom = height - 30
    one = LABEL + scale
    parts += [
        f'<path d="M{one:.1f} 0V{bottom}" stroke="#222" stroke-dasharray="3 3"/>',
        f'<text x="{one:.1f}" y="{bottom + 18}" text-anchor="middle">1 = as fast as {_measure(result)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _measure(result: Result) -> str:
    return MEASURE if MEASURE in result["versions"]["engines"] else f"mobiprox {EXACT}"


def _bars(result: Result, settings: Mapping[str, str]) -> Iterator[tuple[str, float, float, float, str]]:
    """Name, ratio, its interval, colour."""
    measure = _measure(result)
    for name, setting in {EXACT: EXACT, **settings}.items():
        if ratio := _ratio(result, setting, measure):
            yield name, ratio["ratio"], *ratio["interval"], "#2f6db3" if setting == EXACT else "#7fb2e5"
    exact = _ratio(result, EXACT, measure)
    for engine in result["versions"]["engines"]:
        against = _ratio(result, EXACT, engine)
        if exact is not None and against is not None and engine != measure:  # both are of our exact network: it cancels
            value = exact["ratio"] / against["ratio"]
            yield engine, value, value, value, "#b0b0b0"


if __name__ == "__main__":
    sys.exit(main())
