"""``mobiprox bench``, stage by stage: the network, the engines' processes, their outputs, every operator, rounds, the result."""

from __future__ import annotations

import platform
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, plugins, reference
from ..configuration import EXACT_CONFIGURATION, Configuration
from ..errors import DeviceError, LoweringError, UsageError
from ..initial import first_backend
from ..interfaces import Progress, ProgressSink, Statistics, Technique
from ..network import Network
from . import engines, noise, ratios
from .engines import OURS, check_installed, installed
from .peak import HOW
from .pool import Process
from .ratios import Block, Round
from .settings import configuration
from .task import Task

if TYPE_CHECKING:
    from ..graph import Graph
    from ..interfaces import Floats
    from ..plugins import Registry

TOLERANCE = 1e-3
"""Greatest difference of an output from its meaning, relative to the greatest element."""
PAYS = 1.05
"""With `paying`, a setting stays where its operator becomes so many times as fast."""
RANDOM_INPUTS = 64
"""How many random inputs serve to calibrate with where none are given."""
IDLE_CORES = 0.05
"""A waiting engine that uses more disturbs the others."""
OPERATORS_S = 15.0
"""Seconds that all operators together are timed alone, at most about."""
MOST_ROUNDS = 2
"""Times the wanted rounds, where many are disturbed."""
EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Request:
    """What to compare. settings: as ``--set`` takes them.

    against: names of engines; None for all exact ones that are installed (and the quantised ones, if `quantised`), of which those that cannot
    run the network are left out.

    backend, options: whose device runs our side; empty for the first choice among those with a device. threads: None for all of the device's,
    and as many for the others. calibrate: an .npy file of inputs for fitted settings and quantised engines, random ones if None.
    block_s: seconds of one timed block. paying: apply a setting only to operators that become faster by it.
    """

    model: Path
    against: tuple[str, ...] | None = None
    settings: tuple[str, ...] = ()
    batch: int = 1
    threads: int | None = None
    backend: str = ""
    options: Mapping[str, Any] | None = None
    rounds: int = 15
    block_s: float = 0.2
    paying: bool = False
    seed: int = 0
    calibrate: Path | None = None
    quantised: bool = False


@dataclass(frozen=True, slots=True)
class Contender:
    """What is timed: an engine, for Mobiprox under a choice of variants. name: the setting for Mobiprox, else the engine."""

    name: str
    process: Process
    variants: tuple[int, ...] | None = None

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        return self.process.ask(do, **what, **({} if self.variants is None else {"variants": self.variants}))


def bench(request: Request, registry: Registry | None = None, progress: ProgressSink = lambda p: None) -> dict[str, Any]:
    """The comparison as a JSON object.

    Raises UsageError for an unknown or missing engine or an illegal setting, LoweringError and DeviceError where an engine that was asked
    for cannot run the network or computes something else, and whatever the frontend raises.
    """
    from ..tuning import limit_s

    registry = registry or plugins.load()
    request = request if request.backend else replace(request, backend=first_backend(registry))
    rivals = installed(quantised=request.quantised) if request.against is None else tuple(dict.fromkeys(request.against))
    check_installed(rivals)
    if len(set(request.settings)) < len(request.settings):
        raise UsageError("a setting is given twice", where="--set", mend="leave one of them out")
    progress(Progress("network", 0, 0, str(request.model)))
    network = read_network(request.model, registry)
    graph = network.at_batch(request.batch)
    techniques = {name: registry.get("technique", name) for name in registry.names("technique")}
    levels = [EXACT_CONFIGURATION, *(configuration(text, graph, techniques) for text in request.settings)]
    names = [EXACT, *request.settings]
    average = noise.load_average()

    with tempfile.TemporaryDirectory(prefix="mobiprox-bench-") as folder, ExitStack() as stack:
        inputs = _inputs(graph, request.seed)
        task = _task(network, request.batch, inputs, _calibrate(graph, request), Path(folder))
        ours, *others = (stack.enter_context(Process(engine)) for engine in (OURS, *rivals))
        progress(
            Progress("engines", 0, 0, f"{', '.join((OURS, *rivals))}; {OURS} is tuned for what it has not met, at most {limit_s():g} s")
        )
        about = ours.ask("load", engine=OURS, task={**task, **_our_part(request, registry, levels)})
        threads = request.threads or (about["threads"] if about["device"]["kind"] == "cpu" else noise.cores())
        left_out: dict[str, str] = {}
        abouts: dict[str, dict[str, Any]] = {}
        for other in others:
            with _leaving_out(other.engine, left_out, request):
                abouts[other.engine] = other.ask("load", engine=other.engine, task={**task, "threads": threads})

        progress(Progress("operators", 0, 0, "each alone, under every setting"))
        peak = ours.ask("peak")["gflops"]
        operator_ms = _operator_ms(ours, about, request)
        if request.paying:  # operators may hand on what the next one wants, so what is left is lowered again
            levels = [_configuration(_paying(level, operator_ms), about) for level in about["levels"]]
            about = ours.ask("load", engine=OURS, task={**task, **_our_part(request, registry, levels), "threads": threads})
            operator_ms = _operator_ms(ours, about, request)
        chosen = [tuple(level) for level in about["levels"]]
        contenders = [Contender(name, ours, variants) for name, variants in zip(names, chosen, strict=True)]
        contenders += [Contender(o.engine, o) for o in others if o.engine in abouts]
        ran = [_configuration(variants, about) for variants in chosen]

        progress(Progress("outputs", 0, 0, "against the NumPy reference"))
        meant = _Meaning(graph, inputs, techniques, _statistics(task, request, registry, ran, techniques))
        differences: dict[str, dict[str, float]] = {}
        for index, contender in enumerate(contenders):
            with _leaving_out(contender.process.engine, left_out, request):
                differences[contender.name] = meant.check(contender, ran[index] if index < len(ran) else EXACT_CONFIGURATION, Path(folder))
        contenders = [contender for contender in contenders if contender.name in differences]
        abouts = {engine: abouts[engine] for engine in abouts if engine in differences}
        rounds = _rounds(contenders, request, threads, progress)
        idle = {contender.process.engine: contender.process.idle_cores for contender in contenders}

    return {
        "model": _model_json(request, network, graph),
        "machine": _machine_json(),
        "versions": _versions(registry, abouts),
        "device": about["device"],
        "threads": threads,
        "load_s": about["load_s"],
        "arena_bytes": about["arena_bytes"],
        "memory_bytes": about["memory_bytes"],
        "program": about["program"],
        "engines": abouts,
        "left_out": left_out,
        "seed": request.seed,
        "paying": request.paying,
        "contenders": [
            _contender_json(contender, ran[i] if i < len(ran) else None, rounds, differences[contender.name])
            for i, contender in enumerate(contenders)
        ],
        "ratios": _ratios_json(names, list(abouts), rounds, request.seed),
        "noise": _noise_json(rounds, names, list(abouts), idle, average, request),
        "peak_gflops": peak,
        "peak_how": HOW,
        "operators": _operators_json(graph, about, operator_ms, peak, names[1:], chosen[1:]),
    }


# ------------------------------------------------------------------------------------------------------------------------- set-up


def read_network(path: Path, registry: Registry) -> Network:
    """The network of an ONNX file, or of an exported program of PyTorch (.pt2)."""
    frontend = registry.get("frontend", "torch" if path.suffix == ".pt2" else "onnx")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", where="MODEL", mend="name an .onnx file, or a .pt2 file of torch.export")
    return Network.from_model(frontend.load({"path": path.name}, path.resolve().parent), path.stem)


def _inputs(graph: Graph, seed: int) -> list[Floats]:
    import numpy as np

    rng = np.random.default_rng(seed)
    return [rng.standard_normal(spec.shape).astype(np.float32) for spec in graph.inputs]


def _calibrate(graph: Graph, request: Request) -> Floats:
    """Inputs to calibrate with, float32[N, ...]."""
    import numpy as np

    shape = graph.inputs[0].shape[1:]
    if request.calibrate is None:
        return np.random.default_rng(request.seed + 1).standard_normal((max(RANDOM_INPUTS, request.batch), *shape)).astype(np.float32)
    try:
        inputs = np.asarray(np.load(request.calibrate), np.float32)
    except (OSError, ValueError) as fault:
        raise UsageError(f"{request.calibrate} cannot be read: {fault}", where="--calibrate", mend="give an .npy file") from fault
    if inputs.shape[1:] != shape or len(inputs) < request.batch:
        raise UsageError(
            f"{request.calibrate} has shape {list(inputs.shape)}, the network takes {['N', *shape]}",
            where="--calibrate",
            mend=f"give float32 inputs, at least {request.batch} of them",
        )
    return inputs


def _statistics(
    task: Mapping[str, Any], request: Request, registry: Registry, ran: Sequence[Configuration], techniques: Mapping[str, Technique]
) -> Callable[[str], Statistics | None]:
    """What our worker fitted its settings to; here the meaning of those settings is computed from the same."""
    import numpy as np

    parts = [part for settings in ran for setting in settings.settings.values() for part in setting]
    if not any(techniques[part.technique].needs_statistics(part) for part in parts):
        return lambda op: None
    device = registry.get("backend", request.backend).open(request.options or {})
    return engines.calibration(Task(task["model"], task["batch"], (), calibrate=np.load(task["calibrate"])), device)


def _task(network: Network, batch: int, inputs: Sequence[Floats], calibrate: Floats, folder: Path) -> dict[str, Any]:
    """What all engines load: the simplified network with its batch fixed, and the inputs."""
    import numpy as np
    import onnx_ir as ir

    model = network.model.clone()
    for value in model.graph.inputs:
        if value.shape is not None and value.shape and not isinstance(value.shape[0], int):
            value.shape = ir.Shape([batch, *value.shape[1:]])
    file = folder / f"{network.name}.onnx"
    ir.save(model, file)
    np.savez(folder / "inputs.npz", *inputs)
    np.save(folder / "calibrate.npy", calibrate)
    return {"model": str(file), "batch": batch, "inputs": str(folder / "inputs.npz"), "calibrate": str(folder / "calibrate.npy")}


def _our_part(request: Request, registry: Registry, levels: Sequence[Configuration]) -> dict[str, Any]:
    options = {**(request.options or {}), **({} if request.threads is None else {"threads": request.threads})}
    for key in options:
        if key not in registry.get("backend", request.backend).options.get("properties", {}):
            raise UsageError(f"the backend '{request.backend}' has no option '{key}'", where=f"--{key}", mend="leave it out")
    return {"backend": request.backend, "options": options, "configurations": [level.to_json() for level in levels]}


def _paying(level: Sequence[int], times_ms: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """A level, exact where its variant does not pay."""
    return tuple(v if v and times and times[v] * PAYS <= times[0] else 0 for v, times in zip(level, times_ms, strict=True))


def _configuration(variants: Sequence[int], about: Mapping[str, Any]) -> Configuration:
    settings = {op["name"]: op["settings"][v] for op, v in zip(about["operators"], variants, strict=True)}
    return Configuration.from_json(settings)


# ---------------------------------------------------------------------------------------------------------------------- measuring


@contextmanager
def _leaving_out(engine: str, left_out: dict[str, str], request: Request) -> Iterator[None]:
    """Go on without a rival that nobody asked for by name, and remember why."""
    try:
        yield
    except (LoweringError, DeviceError) as error:
        if request.against is not None or engine == OURS:
            raise
        left_out[engine] = error.what


def _operator_ms(ours: Process, about: Mapping[str, Any], request: Request) -> list[list[float]]:
    """Milliseconds of every operator under each of its variants."""
    variants = sum(len(op["settings"]) for op in about["operators"])
    times: list[list[float]] = ours.ask("operators", seconds=min(request.block_s / 2, OPERATORS_S / variants))["times_ms"]
    return times


class _Meaning:
    """What the outputs of a network should be, by the NumPy reference."""

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[Floats],
        techniques: Mapping[str, Technique],
        statistics: Callable[[str], Statistics | None] = lambda op: None,
    ) -> None:
        self._graph, self._inputs, self._techniques, self._statistics = graph, inputs, techniques, statistics
        self._exact = reference.run(graph, inputs)

    def check(self, contender: Contender, settings: Configuration, folder: Path) -> dict[str, float]:
        """How far a contender's outputs are from their meaning, and from the exact outputs. Raises DeviceError beyond the tolerance."""
        file, engine = folder / "outputs.npz", contender.process.engine
        contender.ask("run", outputs=str(file))
        outputs = _read(file)
        meaning = self._exact
        if settings.settings:
            meaning = reference.run(self._graph, self._inputs, settings, self._techniques, self._statistics)
        own = TOLERANCE if engine == OURS else engines.RIVALS[engine].tolerance
        allowed = max(own, _tolerance(settings, self._techniques))
        difference = _difference(outputs, meaning)
        if not difference <= allowed:
            what = f"{engine} ({contender.name})" if engine == OURS else engine
            raise DeviceError(
                f"{what} computes something else: {difference:.1e} relative difference from the reference, at most {allowed:.0e} is right",
                mend=f"report it, or leave {'this setting' if settings.settings else engine} out",
            )
        return {"difference": difference, "from_exact": _difference(outputs, self._exact)}


def _tolerance(settings: Configuration, techniques: Mapping[str, Technique]) -> float:
    """What a network may be off by: techniques say it of one operator, and errors of several add up as independent ones do."""
    return float(sum(max(techniques[part.technique].tolerance for part in setting) ** 2 for setting in settings.settings.values()) ** 0.5)


def _read(file: Path) -> tuple[Floats, ...]:
    import numpy as np

    with np.load(file) as content:
        return tuple(content[f"arr_{i}"] for i in range(len(content.files)))


def _difference(outputs: Sequence[Floats], wanted: Sequence[Floats]) -> float:
    """Greatest difference, relative to the greatest element of the output; not a number where something is not."""
    import numpy as np

    return max(
        float(np.abs(a.reshape(b.shape) - b).max() / max(float(np.abs(b).max()), 1e-30)) for a, b in zip(outputs, wanted, strict=True)
    )


def _rounds(contenders: Sequence[Contender], request: Request, threads: int, progress: ProgressSink) -> list[Round]:
    """Rounds of one block per contender in shuffled order, until enough were quiet, but at most `MOST_ROUNDS` times the wanted."""
    rng = random.Random(request.seed)
    by_name = {contender.name: contender for contender in contenders}
    cores = noise.cores()
    rounds: list[Round] = []
    while len(rounds) < request.rounds * MOST_ROUNDS and (quiet := ratios.quiet_rounds(rounds)) < request.rounds:
        progress(Progress("rounds", quiet, request.rounds, f"{len(rounds) - quiet} disturbed" if len(rounds) > quiet else ""))
        rounds.append({name: _block(by_name[name], request.block_s, threads, cores) for name in ratios.order(list(by_name), rng)})
    progress(Progress("rounds", request.rounds, request.rounds))
    return rounds


def _block(contender: Contender, seconds: float, threads: int, cores: int) -> Block:
    a = contender.ask("time", seconds=seconds)
    lacking = noise.Load(a["seconds"], a["cores"], a["others"]).lacking(threads, cores)
    disturbed = lacking is not None and lacking > noise.TOLERATED_CORES
    return Block(a["median_ms"], a["p10_ms"], a["p90_ms"], a["calls"], a["cores"], lacking, disturbed)


# ------------------------------------------------------------------------------------------------------------------------ results


def _model_json(request: Request, network: Network, graph: Graph) -> dict[str, Any]:
    return {
        "name": network.name,
        "file": str(request.model),
        "digest": network.digest,
        "batch": graph.batch,
        "inputs": [list(spec.shape) for spec in graph.inputs],
        "mmac": sum(graph.macs(op) for op in graph.operators) / 1e6,
    }


def _machine_json() -> dict[str, Any]:
    return {"processor": _processor(), "cores": noise.cores(), "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _versions(registry: Registry, abouts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    engines = {name: about["version"] for name, about in abouts.items()}
    return {"mobiprox": __version__, "python": platform.python_version(), "plugins": dict(registry.versions), "engines": engines}


def _contender_json(
    contender: Contender, settings: Configuration | None, rounds: Sequence[Round], difference: Mapping[str, float]
) -> dict[str, Any]:
    latency = ratios.latency(rounds, contender.name)
    return {
        "engine": contender.process.engine,
        "setting": None if settings is None else contender.name,
        "configuration": None if settings is None else settings.to_json(),
        **asdict(latency),
        **difference,
    }


def _ratios_json(ours: Sequence[str], theirs: Sequence[str], rounds: Sequence[Round], seed: int) -> list[dict[str, Any]]:
    """Every setting against every engine, and against our own exact network."""
    pairs = [(setting, engine) for setting in ours for engine in theirs] + [(setting, EXACT) for setting in ours[1:]]
    found = [ratios.ratio(rounds, *pair, seed) for pair in pairs]
    return [
        {
            "setting": r.ours,
            "against": f"{OURS} {EXACT}" if r.theirs == EXACT else r.theirs,
            "ratio": r.median,
            "interval": [r.low, r.high],
            "spread": [r.p10, r.p90],
            "rounds": r.rounds,
            "quiet": r.quiet,
            "certain": r.certain,
        }
        for r in found
    ]


def _noise_json(
    rounds: Sequence[Round],
    ours: Sequence[str],
    theirs: Sequence[str],
    idle: Mapping[str, float],
    average: float | None,
    request: Request,
) -> dict[str, Any]:
    blocks = [block for blocks in rounds for block in blocks.values()]
    known = [block.lacking for block in blocks if block.lacking is not None]
    quiet = ratios.quiet_rounds(rounds)
    warnings = []
    pairs = [ratios.ratio(rounds, setting, engine, request.seed) for setting in ours for engine in theirs]
    latencies = [ratios.latency(rounds, name) for name in (*ours, *theirs)]
    if not all(pair.quiet for pair in pairs) or not all(latency.quiet for latency in latencies):
        warnings.append(
            f"the machine was too busy to say: other work took cores in {len(rounds) - quiet} of {len(rounds)} rounds; "
            "close other programs, or measure with more --rounds"
        )
    elif uncertain := sum(not pair.certain for pair in pairs):
        warnings.append(f"{uncertain} of {len(pairs)} ratios are uncertain by more than {ratios.WIDEST_INTERVAL:.0%}; take more --rounds")
    if not known:
        busy = average is not None and average > 0.25 * noise.cores()
        load = "unknown" if average is None else f"{average:.1f} before"
        warnings.append(f"this system does not tell what other work took; its load average was {load}{', which is much' if busy else ''}")
    for engine, cores in idle.items():
        if cores > IDLE_CORES:
            warnings.append(f"{engine} used {cores:.2f} cores while others were timed; measure without it")
    return {
        "rounds": len(rounds),
        "quiet_rounds": quiet if known else None,
        "lacking_cores": ratios.quantile(known, 0.5) if known else None,
        "load_average": average,
        "idle_cores": dict(idle),
        "warnings": warnings,
    }


def _operators_json(
    graph: Graph,
    about: Mapping[str, Any],
    times_ms: Sequence[Sequence[float]],
    peak: float,
    names: Sequence[str],
    chosen: Sequence[Sequence[int]],
) -> list[dict[str, Any]]:
    """Every operator that is launched: its cost when it is exact, and under the settings that it takes."""
    known = {op.name: op for op in graph.operators}
    rows = []
    for index, (op, times) in enumerate(zip(about["operators"], times_ms, strict=True)):
        if not times or not times[0]:
            continue
        operator = known.get(op["name"])
        macs = graph.macs(operator) if operator else 0
        gflops = 2e-6 * macs * graph.batch / times[0]
        rows.append(
            {
                "name": op["name"],
                "kind": op["kind"],
                "output": list(graph.shape(operator.output)) if operator else None,
                "mmac": macs / 1e6,
                "microseconds": 1e3 * times[0],
                "gflops": gflops if macs else None,
                "peak_share": gflops / peak if macs else None,
                "settings": {
                    name: {
                        "setting": op["settings"][v],
                        "microseconds": 1e3 * times[v],
                        "speedup": times[0] / times[v] if times[v] else None,
                    }
                    for name, variants in zip(names, chosen, strict=True)
                    if op["settings"][v := variants[index]] != EXACT  # exact ones may still hand on what the next operator wants
                },
            }
        )
    return rows
