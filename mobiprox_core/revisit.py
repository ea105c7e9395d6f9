"""What can be done with a finished bundle: measure its levels again, replay a trace over them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from . import bundle as bundles
from .errors import DataError, UsageError
from .interfaces import Progress, ProgressSink
from .ledger import Json

if TYPE_CHECKING:
    from .experiment import Choice, DataChoice
    from .plugins import Registry

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
        "exact": {"latency_ms": timed[0][0]},
        "levels": [
            {
                "level": level,
                "qos_loss_pp": point.qos_loss_pp,
                "latency_ms": ms,
                "latency_interval_ms": [ms - ci, ms + ci],
                "speedup": timed[0][0] / ms,
                "settings": point.configuration.to_json(),
            }
            for level, (point, (ms, ci)) in enumerate(zip(content.points, timed, strict=True))
        ],
        "provenance": dict(content.provenance),
    }


def replay_bundle(folder: Path, registry: Registry, trace: DataChoice, strategy: Choice | None, progress: ProgressSink) -> Json:
    """A strategy over a trace whose outputs are computed on the bundle's device; paths of the trace are relative to here."""
    import numpy as np

    from .lab import through
    from .replays import replay

    content = bundles.read(folder)
    choice = strategy or content.strategy
    if choice is None:
        raise UsageError("the bundle has no strategy", where=str(folder), mend="name one with --strategy")
    chosen = registry.get("strategy", choice.name).create(choice.options, content.calibration)
    samples = registry.get("dataset", trace.dataset).load(trace.split, trace.options, Path.cwd())
    shape = content.plan.inputs[0].shape[1:]
    if samples.inputs.shape[1:] != shape or samples.inputs.dtype != np.float32:
        raise DataError(
            f"the trace has samples {samples.inputs.dtype}{list(samples.inputs.shape[1:])}; the network takes float32{list(shape)}",
            where="--trace",
            mend="choose data of this network",
        )
    device = registry.get("backend", content.backend.name).open(content.backend.options)
    outputs = []
    try:
        runner = device.load(content.plan)
        for level in range(len(content.points)):
            progress(Progress("replay", level, len(content.points), f"outputs of level {level}"))
            runner.set_level(level)
            outputs.append(through(runner, samples.inputs))
        runner.close()
    finally:
        device.close()
    notes = () if samples.notes is None else samples.notes.tolist()
    walked = replay(chosen, outputs, content.calibration, samples.labels, already_softmax=content.already_softmax, notes=notes)
    return {"schema": 1, "strategy": choice.name, **walked.to_json()}
