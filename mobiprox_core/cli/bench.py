"""``mobiprox bench``."""

from __future__ import annotations

from pathlib import Path

import click

from .base import as_json, load_plugins, main, print_json


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="ENGINES",
    help="onnxruntime, torch, openvino, ncnn, mnn, onnxruntime-int8, openvino-int8, joined by commas, or none; all exact ones that are installed and take the network if left out.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="SETTING", help="A setting, or 'OPERATOR: SETTING; ...'. May be given many times."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs per inference.")
@click.option("--threads", type=click.IntRange(1), help="Of every engine; all that the device has if left out.")
@click.option("--backend", metavar="NAME", help="A backend, as NAME or '{NAME: {option: value}}'; one that has a device if left out.")
@click.option("--device", help="Its option 'device': an index of 'mobiprox devices', or part of a name.")
@click.option("--paying", is_flag=True, help="Apply a setting only to operators that it makes at least 5 % faster here.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    help="An .npy file of inputs that fitted settings and quantised engines are calibrated with; 64 random ones if left out.",
)
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
    backend: str | None,
    device: str | None,
    paying: bool,
    calibrate: Path | None,
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
    from .. import experiment
    from ..bench import comparison, text
    from ..initial import first_backend
    from ..progress import ProgressPrinter

    registry = load_plugins()
    chosen = experiment.choose("backend", backend or first_backend(registry), registry, "--backend")
    options = dict(chosen.options) if device is None else {**chosen.options, "device": int(device) if device.isdecimal() else device}
    engines = None if against is None else tuple(name.strip() for name in against.split(",") if name.strip() not in ("", "none"))
    request = comparison.Request(
        *(model, engines, settings, batch, threads, chosen.name, options),
        rounds=rounds,
        block_s=block_s,
        paying=paying,
        seed=seed,
        calibrate=calibrate,
    )
    with ProgressPrinter() as progress:
        result = comparison.bench(request, registry, progress)
    if as_json:
        print_json(result)
    else:
        click.echo(text.render(result))
    for why in result["left_out"].values():
        click.echo(f"warning: {why}; it is left out", err=True)
    for warning in result["noise"]["warnings"]:
        click.echo(f"warning: {warning}", err=True)
