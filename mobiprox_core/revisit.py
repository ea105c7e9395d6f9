"""What can be done with a finished bundle: measure its levels again, replay a trace over them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import bundle as bundles
from .errors import DataError, UsageError
from .interfaces import Progress, ProgressSink
from .ledger import Json
from .progress import tell_programs

if TYPE_CHECKING:
    from .bundle import Bundle
    from .experiment import Choice, DataChoice
    from .interfaces import Floats
    from .plugins import Registry
    from .replays import Trace

SECONDS_PER_LEVEL = 0.8


def measure_bundle(folder: Path, registry: Registry, backend: Choice | None, progress: ProgressSink) -> Json:
    """Latency of every level on a device at hand; losses are those of the bundle, which no device changes."""
    import numpy as np

    from .lab import side_by_side

    content = bundles.read(folder)
    backend = backend or content.backend
    progress(Progress("measure", 0, 0, f"{len(content.points)} levels"))
    device = registry.get("backend", backend.name).open(backend.options)
    try:
        runner = device.load(content.plan)
        tell_programs(device, progress)
        noise = np.random.default_rng(0)  # the bundle has no data; zeros would flatter
        runner.run(*(noise.standard_normal(slot.shape, dtype=np.float32) for slot in content.plan.inputs))
        timed = side_by_side(runner.time(None, content.plan.levels, SECONDS_PER_LEVEL * len(content.points)))
        runner.close()
    finally:
        device.close()
    return {
        "schema": 1,
        "title": content.plan.name,
        "device": {"backend": backend.name, **dataclasses.asdict(device.info)},
        "qos": dataclasses.asdict(content.qos),
        "exact": {"latency_ms": timed[0][0]},
        "levels": [
            {
                "level": level,
                "qos_loss": point.qos_loss,
                "qos_loss_upper": point.upper,
                **({"qos_loss_pp": point.qos_loss} if content.qos.unit == "pp" else {}),
                "latency_ms": ms,
                "latency_interval_ms": [ms - ci, ms + ci],
                "speedup": timed[0][0] / ms,
                "settings": point.configuration.to_json(),
            }
            for level, (point, (ms, ci)) in enumerate(zip(content.points, timed, strict=True))
        ],
        "memory_bytes": content.plan.notes.get("memory_bytes"),
        "provenance": dict(content.provenance),
    }


def replay_bundle(
    folder: Path,
    registry: Registry,
    trace: DataChoice,
    strategies: Sequence[Choice],
    progress: ProgressSink,
    costs: str | Sequence[float] = "latency",
    grid: Mapping[str, Sequence[Any]] | None = None,
    labels: bool = True,
    max_loss_pp: float | None = None,
) -> Json:
    """Strategies (none: the bundle's) over a trace whose outputs are computed once on the bundle's device; paths are relative to here.

    costs: of every level: "latency", "energy" as measured when the bundle was made, or numbers. grid: options of the one strategy, each with
    values to try in every combination. labels: whether those of the trace are used; without, agreement with level 0 counts.
    max_loss_pp: what the cheapest combination may lose that is ``chosen`` from a sweep. Returns the walk of one strategy, ``replays`` of
    several (each also compared with the first), or the ``sweep``.
    """
    from .experiment import choose
    from .replays import cheapest, paired, sweep

    content = bundles.read(folder)
    choices = tuple(strategies) or ((content.strategy,) if content.strategy is not None else ())
    if not choices:
        raise UsageError("the bundle has no strategy", where=str(folder), mend="name one with --strategy")
    if grid and len(choices) > 1:
        raise UsageError(f"a sweep is over one strategy; {len(choices)} are named", where="--sweep", mend="sweep over one at a time")
    if max_loss_pp is not None and not grid:
        raise UsageError("there is nothing to choose from", where="--max-loss", mend="name values of options with --sweep")
    for option, values in (grid or {}).items():
        for value in values:  # each by itself is legal; what contradicts itself together is left out of the sweep
            choose("strategy", json.dumps({choices[0].name: {**choices[0].options, option: value}}), registry, "--sweep")
    offers = [(choice, registry.get("strategy", choice.name)) for choice in choices]
    created = [] if grid else [offer.create(choice.options, content.calibration) for choice, offer in offers]
    recorded = _trace(content, registry, trace, _costs(content, costs), progress)
    if not labels:
        recorded = dataclasses.replace(recorded, labels=None)
    if grid:
        [(choice, offer)] = offers
        found = sweep(recorded, offer, content.calibration, grid, choice.options)
        static = [level.to_json() for level in recorded.static()]
        swept = {"schema": 1, "strategy": choice.name, "static": static, "sweep": [point.to_json() for point in found]}
        if max_loss_pp is None:
            return swept
        best = cheapest(found, max_loss_pp)
        return {**swept, "max_loss_pp": max_loss_pp, "chosen": None if best is None else best.to_json()}
    walked = [recorded.replay(strategy) for strategy in created]
    walks = [
        {"strategy": choice.name, "options": dict(choice.options), **walk.to_json()} for choice, walk in zip(choices, walked, strict=True)
    ]
    if len(walks) == 1:
        return {"schema": 1, **walks[0]}
    against_first = [paired(walk.correct, walked[0].correct, recorded.groups).to_json() for walk in walked]
    return {"schema": 1, "replays": [{**walk, "against_first": other} for walk, other in zip(walks, against_first, strict=True)]}


def _trace(content: Bundle, registry: Registry, trace: DataChoice, costs: Sequence[float], progress: ProgressSink) -> Trace:
    """Outputs of every level on a data set."""
    import numpy as np

    from .replays import Trace

    samples = registry.get("dataset", trace.dataset).load(trace.split, trace.options, Path.cwd())
    shape = content.plan.inputs[0].shape[1:]
    if samples.inputs.shape[1:] != shape or samples.inputs.dtype != np.float32:
        raise DataError(
            f"the trace has samples {samples.inputs.dtype}{list(samples.inputs.shape[1:])}; the network takes float32{list(shape)}",
            where="--trace",
            mend="choose data of this network",
        )
    outputs = outputs_of_levels(content, registry, samples.inputs, progress)
    return Trace.of(
        outputs,
        content.calibration,
        samples.labels,
        already_softmax=content.already_softmax,
        notes=() if samples.notes is None else samples.notes.tolist(),
        groups=samples.groups,
        costs=costs,
    )


def outputs_of_levels(content: Bundle, registry: Registry, inputs: Floats, progress: ProgressSink) -> list[Floats]:
    """float32[N, K] per level of a bundle, computed on its device."""
    from .lab import through

    device = registry.get("backend", content.backend.name).open(content.backend.options)
    outputs = []
    try:
        runner = device.load(content.plan)
        tell_programs(device, progress)
        for level in range(len(content.points)):
            progress(Progress("replay", level, len(content.points), f"outputs of level {level}"))
            runner.set_level(level)
            outputs.append(through(runner, inputs))
        runner.close()
    finally:
        device.close()
    return outputs


def _costs(content: Bundle, costs: str | Sequence[float]) -> Sequence[float]:
    """One cost per level."""
    if costs == "latency":
        return [level.relative_cost for level in content.calibration]
    if costs == "energy":
        energies = [point.energy_mj for point in content.points]
        if None in energies:
            raise UsageError("the bundle has no energy", where="--costs", mend="measure it: add 'energy' to the experiment")
        return [energy for energy in energies if energy is not None]
    if isinstance(costs, str) or len(costs) != len(content.points) or not all(0 < cost < inf for cost in costs):
        raise UsageError(
            f"{costs} is no cost for each of {len(content.points)} levels",
            where="--costs",
            mend="latency, energy, or as many numbers above 0 as there are levels, the exact one first: 1,0.86,0.84",
        )
    return costs
