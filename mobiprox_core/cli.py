"""The command line. stdout is the result, stderr progress and errors; the exit code tells the class of an error (errors.ExitCode).

Everything heavy is imported inside the commands: `mobiprox --help`, `plugins list` and `check` load no numpy, torch, onnx or pyopencl.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__
from .errors import ExitCode, ExperimentError, Fault, MobiproxError, PluginError

if TYPE_CHECKING:
    from .plugins import Plugin, Registry

atexit.register(gc.freeze)  # else Python looks for garbage among all that was imported before it ends: 9 ms of 150 for a short command

JSON_SCHEMA = 1
"""The number that every object of --json carries; it rises when a key changes its meaning."""


class Commands(click.Group):
    """A group whose errors are ours: one ``error:`` line each, the mend below it, the exit code by class."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except MobiproxError as error:
            _print_error(error)
            code = error.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = ExitCode.USAGE
        except click.ClickException as error:
            _print_usage(error)
            code = ExitCode.USAGE
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        except Exception as error:
            _print_bug(error)
            code = ExitCode.BUG
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _print_error(error: MobiproxError) -> None:
    faults = error.faults if isinstance(error, ExperimentError) else (Fault(error.where or "", error.what, error.mend),)
    for fault in faults:
        click.echo(f"error: {fault.where}: {fault.what}" if fault.where else f"error: {fault.what}", err=True)
        if fault.mend:
            click.echo("  " + fault.mend.replace("\n", "\n  "), err=True)


def _print_usage(error: click.ClickException) -> None:
    message = error.format_message().rstrip(".")
    click.echo(f"error: {message[:1].lower()}{message[1:]}", err=True)
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"  see '{context.command_path} --help'", err=True)


def _print_bug(error: Exception) -> None:
    """Our fault, not the user's: a short message, and the traceback in a file that can be sent."""
    import platform
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="mobiprox-bug-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(f"mobiprox {__version__}, Python {platform.python_version()}, {platform.platform()}\n{' '.join(sys.argv)}\n\n")
        file.write("".join(traceback.format_exception(error)))
    click.echo(f"error: a bug in Mobiprox or in a plugin: {type(error).__name__}: {error}", err=True)
    click.echo(f"  please report it with the traceback, which is in {file.name}", err=True)


def _registry(*, warn: bool = True) -> Registry:
    """The installed plugins; broken ones are named on stderr."""
    from . import plugins

    registry = plugins.load()
    if warn:
        for problem in registry.problems:
            click.echo(f"warning: {problem}", err=True)
    return registry


def _print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps({"schema": JSON_SCHEMA, **value}, indent=2, ensure_ascii=False))


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="mobiprox", prog_name="mobiprox")
def main() -> None:
    """One trained network that glides between accuracy and cost at run time.

    \b
    Example:
      mobiprox run examples/digits/experiment.yaml --out runs/digits
    """


# ---------------------------------------------------------------------------------------------------------------------- experiments


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the results; runs/NAME if left out.")
@click.option("--resume", is_flag=True, help="Take up an interrupted run: finished stages are not done again.")
@as_json
def run(file: Path, out: Path | None, resume: bool, as_json: bool) -> ExitCode:
    """Profile, search and measure what FILE asks for.

    Leaves the levels, a bundle to run them, and report.html in the folder of the results.

    \b
    Example:
      mobiprox run examples/digits/experiment.yaml --out runs/digits
    """
    from . import experiment, pipeline
    from .progress import ProgressPrinter

    registry = _registry()
    wanted = experiment.load(file, registry)
    out = out or pipeline.default_folder(file)
    try:
        with ProgressPrinter() as progress:
            result = pipeline.run(wanted, registry, out, resume=resume, progress=progress).to_json()
    except KeyboardInterrupt:
        click.echo(f"interrupted; take it up again with: mobiprox run {file} --out {out} --resume", err=True)
        return ExitCode.INTERRUPTED
    if as_json:
        _print_json(result)
        return ExitCode.DONE
    _print_levels(result)
    if replay := result.get("replay"):
        right = (
            f"{_percent(replay['accuracy'])} right"
            if replay["accuracy"] is not None
            else f"{_percent(replay['agreement'])} as the exact network"
        )
        cost = f"{replay['relative_cost']:.0%} of the exact cost, mean level {replay['mean_level']:.2f}"
        click.echo(f"\nreplay of {replay['steps']} steps: {right} at {cost}")
    click.echo(f"\nreport: {out / 'report.html'}\nbundle: {out / 'bundle'}")
    return ExitCode.DONE


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Also load model and data, and see that they fit each other and the operators are supported.")
@as_json
def check(file: Path, deep: bool, as_json: bool) -> ExitCode:
    """Find every fault of FILE without running it.

    \b
    Example:
      mobiprox check examples/digits/experiment.yaml
    """
    from . import experiment

    registry = _registry()
    try:
        wanted = experiment.load(file, registry)
        if deep:
            from . import pipeline

            pipeline.check(wanted, registry)
    except ExperimentError as error:
        if not as_json:
            raise
        faults = [{"where": fault.where, "what": fault.what, "mend": fault.mend} for fault in error.faults]
        _print_json({"valid": False, "faults": faults})
        return error.exit_code
    if as_json:
        _print_json({"valid": True, "faults": [], "experiment": wanted.to_json(), "digest": wanted.digest, "plugins": registry.versions})
    else:
        names = ", ".join(technique.name for technique in wanted.techniques)
        click.echo(f"{file}: valid ({wanted.model.name}, {names}, {wanted.search.heuristic}, {wanted.backend.name})")
    return ExitCode.DONE


@main.command()
def schema() -> None:
    """Print the JSON Schema of the experiment file, for editors.

    The options of the installed plugins are in it.

    \b
    Example:
      mobiprox schema > experiment.schema.json
    """
    from . import experiment

    click.echo(json.dumps(experiment.schema(_registry()), indent=2, ensure_ascii=False))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def report(folder: Path) -> None:
    """Write report.html anew from the results in FOLDER.

    \b
    Example:
      mobiprox report runs/digits
    """
    from .results import write_report

    click.echo(f"report: {write_report(folder)}")


# -------------------------------------------------------------------------------------------------------------------------- bundles


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option("--backend", metavar="NAME", help="A backend, as NAME or '{NAME: {option: value}}'; that of the bundle if left out.")
@as_json
def measure(bundle: Path, backend: str | None, as_json: bool) -> None:
    """Measure every level of BUNDLE again, on the device at hand.

    \b
    Example:
      mobiprox measure runs/digits/bundle --backend '{opencl: {device: 0}}'
    """
    from . import experiment, pipeline
    from .progress import ProgressPrinter

    registry = _registry()
    chosen = experiment.choose("backend", backend, registry, "--backend") if backend else None
    with ProgressPrinter() as progress:
        result = pipeline.measure_bundle(bundle, registry, backend=chosen, progress=progress)
    if as_json:
        _print_json(result)
    else:
        _print_levels(result)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--trace", required=True, metavar="DATASET:SPLIT", help="What to replay; with options: '{dataset: NAME, split: NAME, option: value}'."
)
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME",
    help="A strategy, as NAME or '{NAME: {option: value}}'; that of the bundle if left out. Several are compared.",
)
@click.option(
    "--costs", metavar="COSTS", default="latency", show_default=True, help="Of the levels: latency, energy, or numbers: 1,0.86,0.84."
)
@click.option(
    "--sweep",
    "swept",
    multiple=True,
    metavar="OPTION=VALUES",
    help="Try every combination of these values of the strategy's options: low=0.3,0.5.",
)
@click.option("--unlabelled", is_flag=True, help="Leave the labels of the trace aside: agreement with the exact network counts.")
@as_json
def replay(
    bundle: Path, trace: str, strategies: tuple[str, ...], costs: str, swept: tuple[str, ...], unlabelled: bool, as_json: bool
) -> None:
    """Replay a recorded trace with a strategy over the levels of BUNDLE.

    Accuracy is compared with the exact network's, and with that of the best single level that costs no more. Differences come with a
    95 % interval over users, speakers, ... where the data know them.

    \b
    Example:
      mobiprox replay runs/digits/bundle --trace digits:stream --strategy state
      mobiprox replay runs/digits/bundle --trace digits:stream --strategy state --sweep memory=2,3,5 --sweep votes=1,2
    """
    from . import experiment, pipeline
    from .progress import ProgressPrinter

    registry = _registry()
    data = experiment.choose_data(trace, registry, "--trace")
    chosen = [experiment.choose("strategy", strategy, registry, "--strategy") for strategy in strategies]
    grid = experiment.choose_grid(swept, "--sweep")
    with ProgressPrinter() as progress:
        result = pipeline.replay_bundle(bundle, registry, data, chosen, progress, experiment.choose_costs(costs), grid, not unlabelled)
    if as_json:
        _print_json(result)
    elif "sweep" in result:
        _print_sweep(result)
    else:
        _print_replays(result.get("replays") or [result])


def _print_replays(walks: Sequence[Mapping[str, Any]]) -> None:
    """A line for each strategy, and one for the exact network."""
    head = ["strategy", "accuracy", "agreement", "relative cost", "pp against exact", "pp against the best level of that cost"]
    exact = walks[0]["static"][0]
    rows = [["exact", _percent(exact["accuracy"]), _percent(exact["agreement"]), _number(exact["relative_cost"], ".3f"), "", ""]]
    rows += [
        [
            walk["strategy"],
            _percent(walk["accuracy"]),
            _percent(walk["agreement"]),
            _number(walk["relative_cost"], ".3f"),
            _interval(walk["against_exact"]),
            f"{_interval(walk['against_static'])} level {walk['best_static']['level']}",
        ]
        for walk in walks
    ]
    if len(walks) > 1:
        head.append("pp against the first")
        for row, cell in zip(rows, ["", "", *(_interval(walk["against_first"]) for walk in walks[1:])], strict=True):
            row.append(cell)
    _print_table(head, rows)
    units = walks[0]["against_exact"]["units"]
    click.echo(f"\n{walks[0]['steps']} steps; intervals are 95 %, over {units} {'samples' if units == walks[0]['steps'] else 'groups'}")


def _print_sweep(result: Mapping[str, Any]) -> None:
    """The combinations on the front; how many there were in all."""
    front = [point for point in result["sweep"] if point["on_front"]]
    names = list(front[0]["options"])
    rows = [
        (
            *(json.dumps(point["options"][name]) for name in names),
            _percent(point["accuracy"]),
            _percent(point["agreement"]),
            _number(point["relative_cost"], ".3f"),
            _interval(point["against_static"]),
        )
        for point in front
    ]
    _print_table((*names, "accuracy", "agreement", "relative cost", "pp against the best level of that cost"), rows)
    click.echo(f"\n{len(front)} of {len(result['sweep'])} combinations are on the front of cost against accuracy")


def _interval(paired: Mapping[str, Any]) -> str:
    return f"{paired['difference_pp']:+.2f} [{paired['low_pp']:+.2f}, {paired['high_pp']:+.2f}]"


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--source", required=True, metavar="[DATASET:]FILE", help="A .npy file, - (float32 numbers), or raw signals that a data set prepares."
)
@click.option("--strategy", metavar="NAME", help="A strategy, as NAME or '{NAME: {option: value}}'; that of the bundle if left out.")
@click.option(
    "--period", "period_s", type=click.FloatRange(0, min_open=True), help="Seconds from input to input, of a source that does not know."
)
@click.option("--fast", is_flag=True, help="Do not wait for the time of each input.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many inputs.")
@as_json
def live(bundle: Path, source: str, strategy: str | None, period_s: float | None, fast: bool, limit: int | None, as_json: bool) -> None:
    """Run BUNDLE on a stream, and show label, confidence, level and savings as it goes.

    A recording plays at its own pace. Inputs that are answered late are counted, never dropped. Battery, temperature and hour of this
    machine are told to the strategy.

    \b
    Example:
      mobiprox live runs/keywords/bundle --source keywords:talk.wav
      mobiprox live runs/har/bundle --source har:walk.csv --fast
    """
    import itertools
    from contextlib import ExitStack

    from . import experiment
    from . import live as lives
    from .errors import DataError
    from .session import Session

    registry = _registry()
    chosen = experiment.choose("strategy", strategy, registry, "--strategy") if strategy else None
    wanted = lives.Source.parse(source)
    with ExitStack() as opened:
        session = opened.enter_context(Session.open(bundle, registry=registry))
        if chosen is not None:
            session.strategy = registry.get("strategy", chosen.name).create(chosen.options, session.bundle.calibration)
        try:
            file = sys.stdin.buffer if wanted.path == "-" else opened.enter_context(open(wanted.path, "rb"))
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=f"--source: {wanted.path}") from error
        stream: Iterable[tuple[float, Any]]
        if wanted.dataset is None:
            stream = lives.arrays(file, session.bundle.plan.inputs[0].shape[1:], period_s or 0.0)
        elif (prepare := getattr(registry.get("dataset", wanted.dataset), "stream", None)) is None:
            raise DataError(f"the data set '{wanted.dataset}' prepares no signals", where="--source", mend="give a .npy file")
        else:
            stream = prepare(file)
        paced = not fast and (wanted.dataset is not None or period_s is not None)
        summary = lives.Summary()
        answers = []
        for answer in lives.live(session, itertools.islice(stream, limit), lives.surroundings, paced):
            drifts = session.heartbeat.drifts[summary.drifts :]
            summary = summary.after(answer, len(drifts))
            if as_json:
                answers.append(answer.to_json())
                continue
            for drift in drifts:
                click.echo(f"drift: {drift}", err=True)
            prediction = answer.prediction
            name = session.classes[prediction.label] if session.classes else str(prediction.label)
            late = f"  late by {answer.delay_s:.2f} s" if answer.late else ""
            click.echo(
                f"{answer.time_s:8.2f} s  {name:<20} {prediction.confidence:4.0%}  level {prediction.level}  saved {summary.saved:4.0%}{late}"
            )
    if as_json:
        _print_json({"summary": summary.to_json(), "answers": answers})
    else:
        click.echo(f"\n{summary}")


def _print_levels(result: Mapping[str, Any]) -> None:
    """The table of levels of a run or a new measurement."""
    exact = result.get("exact") or {}
    base = exact.get("test_accuracy")
    rows = []
    for level in result["levels"]:
        test_loss = level.get("test_qos_loss_pp")
        rows.append(
            (
                str(level["level"]),
                _percent(None if base is None or test_loss is None else base - test_loss / 100),
                _number(level.get("qos_loss_pp"), ".2f"),
                _number(test_loss, ".2f"),
                _number(level["latency_ms"], ".4g"),
                _number(level["speedup"], ".2f") + "x",
                _number(level.get("energy_mj"), ".3g"),
            )
        )
    head = ("level", "accuracy", "loss pp (tuning)", "loss pp (test)", "latency ms", "speedup", "energy mJ")
    used = [i for i in range(len(head)) if any(row[i] != "-" for row in rows)]
    _print_table([head[i] for i in used], [[row[i] for i in used] for row in rows])


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--against", metavar="ENGINES", help="onnxruntime, torch, openvino, joined by commas, or none; all that are installed if left out."
)
@click.option(
    "--set", "settings", multiple=True, metavar="SETTING", help="A setting, or 'OPERATOR: SETTING; ...'. May be given many times."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs per inference.")
@click.option("--threads", type=click.IntRange(1), help="Of every engine; all that the device has if left out.")
@click.option("--backend", metavar="NAME", default="opencl", show_default=True, help="A backend, as NAME or '{NAME: {option: value}}'.")
@click.option("--device", help="Its option 'device': an index of 'mobiprox devices', or part of a name.")
@click.option("--paying", is_flag=True, help="Apply a setting only to operators that it makes at least 5 % faster here.")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True, help="Undisturbed rounds to aim at.")
@click.option(
    "--block", "block_s", type=click.FloatRange(0.01), default=0.2, show_default=True, help="Seconds an engine is timed per round."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the inputs and the order of the rounds.")
@as_json
def bench(
    model: Path,
    against: str | None,
    settings: tuple[str, ...],
    batch: int,
    threads: int | None,
    backend: str,
    device: str | None,
    paying: bool,
    rounds: int,
    block_s: float,
    seed: int,
    as_json: bool,
) -> None:
    """Time MODEL, exact and approximated, beside other engines.

    MODEL is an ONNX file, or an exported program of PyTorch (.pt2). Every engine runs in a process of its own; they take turns in
    shuffled rounds. A ratio above 1 means that Mobiprox is faster.

    \b
    Example:
      mobiprox bench net.onnx --against onnxruntime --set 'perforation(axis=rows, offset=1, stride=2)'
    """
    from . import experiment
    from .bench import comparison, text
    from .progress import ProgressPrinter

    registry = _registry()
    chosen = experiment.choose("backend", backend, registry, "--backend")
    options = dict(chosen.options) if device is None else {**chosen.options, "device": int(device) if device.isdecimal() else device}
    engines = None if against is None else tuple(name.strip() for name in against.split(",") if name.strip() not in ("", "none"))
    request = comparison.Request(
        model, engines, settings, batch, threads, chosen.name, options, rounds=rounds, block_s=block_s, paying=paying, seed=seed
    )
    with ProgressPrinter() as progress:
        result = comparison.bench(request, registry, progress)
    if as_json:
        _print_json(result)
    else:
        click.echo(text.render(result))
    for warning in result["noise"]["warnings"]:
        click.echo(f"warning: {warning}", err=True)


# -------------------------------------------------------------------------------------------------------------- plugins and devices


@main.group()
def plugins() -> None:
    """What is installed, and what it offers.

    \b
    Example:
      mobiprox plugins list
    """


@plugins.command("list")
@as_json
def plugins_list(as_json: bool) -> None:
    """List the plugins, what they offer, and which are broken.

    \b
    Example:
      mobiprox plugins list --json
    """
    registry = _registry(warn=False)
    if as_json:
        _print_json({"plugins": [_plugin_json(plugin, registry) for plugin in registry.plugins]})
        return
    rows = []
    for plugin in registry.plugins:
        offers = "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.offers.items())
        rows.append((plugin.name, plugin.version, plugin.distribution, offers or ("broken" if plugin.problem else "observes")))
    if not rows:
        click.echo("no plugin is installed; for all of this project: pip install 'mobiprox[all]'")
    _print_table(("plugin", "version", "distribution", "offers"), rows, left=True)
    for problem in registry.problems:
        click.echo(f"warning: {problem}", err=True)


@plugins.command("info")
@click.argument("name")
@as_json
def plugins_info(name: str, as_json: bool) -> None:
    """Show what the plugin NAME, or what is offered under NAME, is and which options it has.

    \b
    Example:
      mobiprox plugins info perforation
    """
    registry = _registry(warn=False)
    found = [plugin for plugin in registry.plugins if name in (plugin.name, plugin.distribution, *_offered_names(plugin))]
    if not found:
        from .plugins import did_you_mean

        known = sorted({word for plugin in registry.plugins for word in (plugin.name, *_offered_names(plugin))})
        likely = did_you_mean(name, known)
        mend = f"did you mean '{likely}'?" if likely else f"installed: {', '.join(known) or 'none'}"
        raise PluginError(f"no plugin is called or offers '{name}'", mend=mend)
    if as_json:
        _print_json({"plugins": [_plugin_json(plugin, registry) for plugin in found]})
        return
    for plugin in found:
        click.echo(f"{plugin.name} {plugin.version} ({plugin.distribution})")
        if plugin.problem:
            click.echo(f"broken: {plugin.problem}")
        for offer in _plugin_json(plugin, registry)["offers"]:
            click.echo(f"\n{offer['kind']} {offer['name']}: {offer['summary']}")
            rows = [(key, _type(option), _default(option), option.get("description", "")) for key, option in offer["options"].items()]
            rows += [(f"knob {knob}", "", "", meaning) for knob, meaning in offer["knobs"].items()]
            if rows:
                _print_table(("option", "type", "default", "meaning"), rows, left=True)


def _offered_names(plugin: Plugin) -> list[str]:
    return [name for names in plugin.offers.values() for name in names]


def _plugin_json(plugin: Plugin, registry: Registry) -> dict[str, Any]:
    problem = plugin.problem
    offers = []
    for kind, names in plugin.offers.items():
        for name in names:
            if name in registry.names(kind):
                offer = registry.get(kind, name)
                options = offer.options
                entry = {"kind": kind, "name": name, "summary": offer.summary, "options": dict(options.get("properties", {}))}
                offers.append({**entry, "required": list(options.get("required", ())), "knobs": dict(getattr(offer, "knobs", {}))})
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "offers": offers,
        "problem": None if problem is None else {"what": problem.what, "mend": problem.mend},
    }


def _type(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return " | ".join(map(str, option["enum"]))
    kind = option.get("type", "")
    return "path" if option.get("format") == "path" else kind if isinstance(kind, str) else " | ".join(kind)


def _default(option: Mapping[str, Any]) -> str:
    return json.dumps(option["default"]) if "default" in option else ""


@main.command()
@as_json
def devices(as_json: bool) -> ExitCode:
    """List what can run here, and why something cannot.

    \b
    Example:
      mobiprox devices --json
    """
    import dataclasses

    registry = _registry()
    found = []
    for name in registry.names("backend"):
        try:
            found += [dataclasses.asdict(device) for device in registry.get("backend", name).devices()]
        except Exception as error:
            problem = registry.provider("backend", name).fault(f"failed to list its devices: {type(error).__name__}: {error}")
            found.append({"backend": name, "index": None, "name": None, "info": None, "problem": problem.what, "mend": problem.mend})
    usable = any(device["problem"] is None for device in found)
    if as_json:
        _print_json({"devices": found})
    elif found:
        _print_table(("backend", "index", "device", "state"), [_device_row(device) for device in found], left=True)
        for device in found:
            if device["mend"]:
                click.echo(f"\n{device['backend']} {_or(device['index'])}: {device['problem']}\n  {device['mend']}")
    else:
        click.echo("no device: no backend that is installed found one; 'mobiprox plugins list' says what is installed")
    return ExitCode.DONE if usable else ExitCode.DEVICE


def _device_row(device: Mapping[str, Any]) -> tuple[str, ...]:
    info = device["info"]
    about = f"{info['runtime']}, {info['kind']}, {info['isa']}, {info['threads']} thread(s)" if info else ""
    state = f"ready ({about})" if about else "ready"
    return device["backend"], _or(device["index"]), _or(device["name"]), "cannot be used" if device["problem"] else state


# --------------------------------------------------------------------------------------------------------------------------- tables


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> None:
    rows = list(rows)
    if not rows:
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = (cell.ljust(width) if left else cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _or(value: Any) -> str:
    return "-" if value is None else str(value)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
