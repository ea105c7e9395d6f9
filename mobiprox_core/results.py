"""The result of a run in one object, and the report that is made from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .ledger import Json, write_json
from .stages import FRONT, PROFILE, REPLAY, RESULT, Stages, Tested

if TYPE_CHECKING:
    from .interfaces import Profile
    from .measure import Front
    from .measurement import OperatingPoint


def summary(stages: Stages, profile: Profile, front: Front, tested: Tested, replayed: Json | None) -> Json:
    """What ``mobiprox run --json`` prints; written to `result.json`."""
    resolved = stages.resolved
    exact, unit = front.levels[0], resolved.metric.unit
    exact_ms = {operator.name: operator.settings[0].latency_ms for operator in profile.operators}
    value = {
        "schema": 1,
        "title": resolved.network.name,
        "device": {"backend": resolved.experiment.backend.name, **dataclasses.asdict(stages.lab.device.info)},
        "qos": {"name": resolved.qos.name, "unit": unit, "higher_is_better": resolved.metric.higher_is_better},
        "max_loss": resolved.max_loss,
        "exact": {
            "tune_score": front.score,
            "test_score": tested.score,
            "tune_accuracy": tested.accuracy[0],
            "test_accuracy": tested.accuracy[1],
            "latency_ms": exact.latency_ms,
        },
        "levels": [
            {
                "level": number,
                **losses(point, unit, loss, ci),
                "no_difference": point.measured is not None and abs(point.measured.value) <= point.measured.ci,
                "latency_ms": point.latency_ms,
                "latency_interval_ms": [point.latency_ms - point.latency_ci_ms, point.latency_ms + point.latency_ci_ms],
                "speedup": exact.latency_ms / point.latency_ms,
                "energy_mj": point.energy_mj,
                "size_bytes": point.size_bytes,
                "temperature": known.temperature,
                "reliability": reliable,
                "settings": point.configuration.to_json(),
            }
            for number, (point, (loss, ci), known, reliable) in enumerate(
                zip(front.levels, tested.losses, tested.calibration, tested.reliability, strict=True)
            )
        ],
        "refused": [point.refused for point in front.points if point.refused],
        "predictions": [own.to_json() for own in front.trust],
        "energy": front.energy,
        "replay": None if replayed is None else {key: item for key, item in replayed.items() if key not in ("schema", "timeline")},
        "memory_bytes": json.loads((stages.ledger.folder / "bundle" / "plan.json").read_text())["notes"].get("memory_bytes"),
        "seconds": dict(stages.ledger.seconds),
        "classes": list(resolved.classes),
        "operators": [
            {"name": op.name, "kind": op.kind, "macs": resolved.macs[op.name], "latency_ms": exact_ms.get(op.name)}
            for op in resolved.graph.operators
        ],
        "provenance": stages.provenance(),
    }
    write_json(stages.ledger.folder / RESULT, value)
    return _read(stages.ledger.folder, RESULT)


def losses(point: OperatingPoint, unit: str, test: float, test_ci: float) -> dict[str, float]:
    """Of one level; those in percentage points also under names that say so."""
    every = {
        "qos_loss": point.qos_loss,
        "qos_loss_ci": point.qos_loss_ci,
        "qos_loss_upper": point.upper,
        **({} if point.measured is None else {"measured_qos_loss": point.measured.value, "measured_qos_loss_ci": point.measured.ci}),
        "test_qos_loss": test,
        "test_qos_loss_ci": test_ci,
    }
    return every | ({f"{name}_pp": value for name, value in every.items()} if unit == "pp" else {})


def write_report(folder: Path) -> Path:
    """Write `report.html` from the result files in a folder, and return its path. Raises UsageError where they are missing."""
    from .report import render

    result = {**_read(folder, RESULT)}
    result["candidates"] = _read(folder, FRONT)["points"]
    result["profile"] = [
        {"operator": operator["name"], **row, "dropped": dropped}
        for operator in _read(folder, PROFILE)["operators"]
        for dropped, rows in ((False, operator["settings"]), (True, operator["dropped"]))
        for row in rows
    ]
    if result["replay"] is not None:
        result["replay"] = _read(folder, REPLAY)
    render(result, folder / "report.html")
    return folder / "report.html"


def _read(folder: Path, file: str) -> Any:
    try:
        return json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the results: {error}", where=str(folder / file), mend="give the folder of a finished 'mobiprox run'"
        ) from error
