"""Fills `report.html` with a result: numbers as tables that need no script, and data for the charts that `report.js` draws.

The result is the JSON object of ``mobiprox run --json`` with details. What a run does not have may be missing or null; only
`exact` and `levels` must be there. Losses are below the exact network, in the unit of `qos`; latencies are of one inference::

    title, device, max_loss            name of the experiment; text, or an object with a `name`; the budget
    qos                                name and unit of the measure; accuracy in percentage points if it is missing
    exact                              tune_accuracy, test_accuracy, tune_score, test_score, latency_ms
    levels[]                           level, qos_loss, qos_loss_upper, measured_qos_loss, measured_qos_loss_ci, test_qos_loss, latency_ms, latency_interval_ms [low, high], speedup,
                                       energy_mj, temperature, reliability (`adaptation.Reliability`, on test data), settings {operator: spelt setting}; operators left out are exact
    candidates[]                       qos_loss, latency_ms, settings: everything that was measured
    operators[]                        name, kind, macs, latency_ms of the exact operator, in network order
    profile[]                          operator, setting, latency_ms, latency_ci_ms, divergence, loss, dropped (true: does not pay)
    classes[]                          names in label order
    predictions[]                      predictor, of, error, unit, rank, fitted, held_out: `prediction.Trust`
    replay                             as `adaptation.Replay.to_json` gives it; strategy: its name
    seconds                            {stage: seconds}
    provenance                         anything nested: versions, driver, isa, threads, seed, digest
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

MOST_STEPS = 2000
"""A longer trace is drawn as this many stretches, each by its means: more than a screen has columns."""


def render(result: Mapping[str, Any], path: Path | str) -> None:
    """Write the report to `path`: one file that works offline, in a browser of today, on paper, and in part without scripts."""
    Path(path).write_text(_page(result), encoding="utf-8")


def _page(result: Mapping[str, Any]) -> str:
    here = files(__package__)
    title = str(result.get("title") or "Mobiprox report")
    return Template(here.joinpath("report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        device=escape(_device_name(result)),
        headline=escape(_headline(result)),
        tiles=_tiles(result),
        levels=_levels_table(result),
        settings=_settings_lists(result),
        static=_static_table(result),
        reliability=_reliability_table(result),
        replay_summary=escape(_replay_summary(result)),
        predictions=_predictions_table(result),
        seconds=_seconds_table(result),
        provenance=_provenance_table(result),
        style=here.joinpath("report.css").read_text(encoding="utf-8"),
        script=here.joinpath("report.js").read_text(encoding="utf-8"),
        data=_embed(_chart_data(result)),
    )


# ------------------------------------------------------------------------------------------------------------- words and numbers


def _headline(result: Mapping[str, Any]) -> str:
    levels, budget = result["levels"], result.get("max_loss")
    fastest = max(levels, key=lambda level: level["speedup"])
    if fastest["speedup"] <= 1:
        return "No level is faster than the exact network" + (f" within {_budget(result)} of loss" if budget is not None else "")
    if budget is not None:
        return f"{_budget(result)} budget: up to {fastest['speedup']:.1f}× faster"
    return f"Up to {fastest['speedup']:.1f}× faster, losing {_loss(fastest['qos_loss'], result)}"


def _tiles(result: Mapping[str, Any]) -> str:
    exact, levels, replay = result["exact"], result["levels"], result.get("replay")
    fastest = max(levels, key=lambda level: level["speedup"])
    tiles = [
        ("Exact network", _exact_score(result), f"{_ms(exact.get('latency_ms'))} per inference"),
        (
            "Fastest level",
            f"{fastest['speedup']:.2f}×",
            f"{_ms(fastest['latency_ms'])}, {_loss(fastest['qos_loss'], result)} to be expected",
        ),
        ("The same on unseen data", _loss(fastest.get("test_qos_loss"), result), "loss of the fastest level on the test split"),
    ]
    if replay:
        accuracy = replay.get("accuracy")
        text = _percent(replay.get("agreement") if accuracy is None else accuracy)
        what = "agrees with the exact network" if accuracy is None else "right"
        cost = f"{what} at {replay['relative_cost']:.0%} of the exact cost"
        tiles.append((f"Adaptive, {replay['steps']} samples", text, cost))
    return "".join(
        f'<div class="tile"><div class="what">{escape(what)}</div><div class="figure">{escape(figure)}</div>'
        f'<div class="more">{escape(more)}</div></div>'
        for what, figure, more in tiles
    )


def _replay_summary(result: Mapping[str, Any]) -> str:
    replay = result.get("replay")
    if not replay:
        return ""
    judged, what = ("agreement", "agreed with the exact network") if replay.get("accuracy") is None else ("accuracy", "was right")
    best = replay["best_static"]
    strategy = f"The {replay['strategy']} strategy" if replay.get("strategy") else "The strategy"
    return (
        f"{strategy} changed the level {replay['switches']} times in {replay['steps']} samples, at level {replay['mean_level']:.2f} on average. "
        f"It {what} {replay[judged]:.1%} of the time at {replay['relative_cost']:.0%} of the exact cost. "
        f"The best single level that costs no more, level {best['level']}, {what} {best[judged]:.1%} of the time."
    )


def _first(value: Mapping[str, Any], *keys: str) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _device_name(result: Mapping[str, Any]) -> str:
    device = result.get("device") or ""
    return str(device.get("name", "")) if isinstance(device, Mapping) else str(device)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _unit(result: Mapping[str, Any]) -> str:
    return str((result.get("qos") or {}).get("unit", "pp"))


def _loss(loss: float | None, result: Mapping[str, Any]) -> str:
    unit = _unit(result)
    return "–" if loss is None else f"{_number(loss, unit)} {unit}"


def _number(loss: float, unit: str) -> str:
    return f"{loss:.2f}" if unit in ("pp", "dB") else f"{loss:.3g}"


def _budget(result: Mapping[str, Any]) -> str:
    unit, most = _unit(result), result["max_loss"]
    return f"{most:.1f} {unit}" if unit in ("pp", "dB") else f"{most:.3g} {unit}"


def _exact_score(result: Mapping[str, Any]) -> str:
    exact = result["exact"]
    accuracy, score = (_first(exact, f"test_{what}", f"tune_{what}") for what in ("accuracy", "score"))
    return _percent(accuracy) if accuracy is not None or score is None else _loss(score, result)


def _ms(latency_ms: float | None) -> str:
    return "–" if latency_ms is None else f"{latency_ms:.{_decimals(latency_ms)}f} ms"


def _decimals(value: float) -> int:
    """How many decimals show three digits."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0


# ------------------------------------------------------------------------------------------------------------------------- tables


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Cells are escaped here and nowhere else."""
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _levels_table(result: Mapping[str, Any]) -> str:
    levels = result["levels"]
    energy = any(level.get("energy_mj") is not None for level in levels)
    head = [
        "Level",
        "Loss (expected)",
        "At most",
        "Loss (tuning), 95 % interval",
        "Loss (test)",
        "Latency",
        "95 % interval",
        "Speedup",
        *(["Energy"] if energy else []),
        "Operators changed",
    ]
    rows = []
    for level in levels:
        low, high = level.get("latency_interval_ms") or (None, None)
        millijoules = level.get("energy_mj")
        rows.append(
            [
                f"{level['level']}" + (" (exact)" if level["level"] == 0 else ""),
                _loss(level["qos_loss"], result),
                _loss(level.get("qos_loss_upper"), result) if level["settings"] else "–",
                _interval(level, result),
                _loss(level.get("test_qos_loss"), result),
                _ms(level["latency_ms"]),
                "–" if low is None or high is None else f"{low:.{_decimals(low)}f} to {_ms(high)}",
                f"{level['speedup']:.2f}×",
                *(["–" if millijoules is None else f"{millijoules:.2f} mJ"] if energy else []),
                str(len(level["settings"])),
            ]
        )
    return _table(head, rows, "numbers") + _energy_note(result.get("energy"))


def _energy_note(about: Mapping[str, Any] | None) -> str:
    """How far the energies are to be trusted; where there are none though there was a meter, why."""
    if not about:
        return ""
    rate, idle = about.get("rate_hz"), about.get("idle_mw")
    said = [
        f"Energy: meter {about['meter']}",
        about.get("quality"),
        f"{rate:.4g} readings a second" if rate else None,
        f"{about['seconds']:.3g} s for each level",
        f"power at rest {idle:.4g} mW, which is not subtracted" if idle is not None else None,
        f"charger: {about['charging']}" if about.get("charging") else None,
        f"no figure for some levels: {about['problem']}" if about.get("problem") else None,
    ]
    return f"<p>{escape('; '.join(filter(None, said)))}.</p>"


def _interval(level: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The loss that was measured on tuning data."""
    loss, ci = level.get("measured_qos_loss"), level.get("measured_qos_loss_ci")
    if loss is None or ci is None or not level["settings"]:
        return "–"
    unit = _unit(result)
    text = f"{_loss(loss, result)}, {_number(loss - ci, unit)} to {_number(loss + ci, unit)}"
    return f"{text} (no difference)" if abs(loss) <= ci else text


def _predictions_table(result: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{own['of']}: {own['predictor']}",
            "–" if own["error"] is None else f"{own['error']:.2g} {own['unit']}",
            "–" if own["rank"] is None else f"{own['rank']:.2f}",
            f"{own['held_out']} ({own['fitted']} fitted to)",
        ]
        for own in result.get("predictions") or ()
    ]
    return _table(["Prediction", "Median error", "Rank correlation", "Configurations"], rows, "numbers first-bold") if rows else ""


def _settings_lists(result: Mapping[str, Any]) -> str:
    lists = []
    for level in result["levels"]:
        if level["settings"]:
            summary = f"Level {level['level']}: {_loss(level['qos_loss'], result)}, {level['speedup']:.2f}×"
            table = _table(["Operator", "Setting"], [(str(op), str(setting)) for op, setting in level["settings"].items()])
            lists.append(f"<details><summary>{escape(summary)}</summary>{table}</details>")
    return "".join(lists)


def _static_table(result: Mapping[str, Any]) -> str:
    replay = result.get("replay")
    if not replay:
        return ""
    rows = [["adaptive", _percent(replay.get("accuracy")), _percent(replay["agreement"]), f"{replay['relative_cost']:.1%}"]]
    rows += [
        [f"always level {s['level']}", _percent(s["accuracy"]), _percent(s["agreement"]), f"{s['relative_cost']:.1%}"]
        for s in replay.get("static", ())
    ]
    return _table(["", "Accuracy", "Agreement with exact", "Cost"], rows, "numbers first-bold")


def _reliability_table(result: Mapping[str, Any]) -> str:
    head = ["Level", "Temperature", "Calibration error", "Without temperature"]
    rows = [
        [
            str(level["level"]),
            f"{level['temperature']:.2f}",
            _percent(level["reliability"]["error"]),
            _percent(level["reliability"]["uncalibrated"]),
        ]
        for level in result["levels"]
        if level.get("reliability")
    ]
    return _table(head, rows, "numbers") if rows else ""


def _seconds_table(result: Mapping[str, Any]) -> str:
    seconds = result.get("seconds") or {}
    rows = [[str(stage), f"{spent:.1f} s"] for stage, spent in seconds.items() if isinstance(spent, int | float)]
    return _table(["Stage", "Time"], [*rows, ["all", f"{sum(float(s) for s in seconds.values()):.1f} s"]], "numbers") if rows else ""


def _provenance_table(result: Mapping[str, Any]) -> str:
    facts: dict[str, Any] = {}
    if isinstance(result.get("device"), Mapping):
        facts["device"] = result["device"]
    facts |= result.get("provenance") or {}
    return _table(["Fact", "Value"], list(_flat(facts)), "facts")


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} {key}".strip())
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, "–" if value is None else str(value)


# ------------------------------------------------------------------------------------------------------------------------- charts


def _chart_data(result: Mapping[str, Any]) -> dict[str, Any]:
    """What `report.js` reads. Operators and settings are numbered, because their names recur thousands of times."""
    operators = {str(o["name"]): dict(o) for o in result.get("operators") or ()}
    numbers = {name: index for index, name in enumerate(operators)}
    spelt: dict[str, int] = {}

    def operator(name: str) -> int:
        return numbers.setdefault(name, len(numbers))

    def setting(text: str) -> int:
        return spelt.setdefault(text, len(spelt))

    def pairs(settings: Mapping[str, str]) -> list[int]:
        """operator, setting, operator, setting, ..."""
        return [number for name, text in settings.items() for number in (operator(name), setting(text))]

    levels = [{**level, "settings": pairs(level["settings"])} for level in result["levels"]]
    candidates = [[c["qos_loss"], c["latency_ms"], pairs(c["settings"])] for c in result.get("candidates") or ()]
    profile = [
        [
            operator(row["operator"]),
            setting(row["setting"]),
            _short(row["latency_ms"]),
            _short(row.get("latency_ci_ms")),
            _short(row.get("divergence")),
            _short(row.get("loss")),
            int(bool(row.get("dropped"))),
        ]
        for row in result.get("profile") or ()
    ]
    return {
        "exact": result["exact"],
        "budget": result.get("max_loss"),
        "unit": _unit(result),
        "levels": levels,
        "candidates": candidates,
        "profile": profile,
        "operators": [
            {key: operators.get(name, {}).get(key) for key in ("kind", "macs", "latency_ms")} | {"name": name} for name in numbers
        ],
        "settings": list(spelt),
        "classes": [str(name) for name in result.get("classes") or ()],
        "replay": _replay_data(result.get("replay")),
    }


def _replay_data(replay: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not replay or not replay.get("timeline"):
        return None
    timeline = replay["timeline"]
    count = len(timeline["level"])
    stretch = max(1, math.ceil(count / MOST_STEPS))
    starts = range(0, count, stretch)
    notes, exact_correct = timeline.get("notes") or (), timeline.get("exact_correct") or timeline["correct"]
    spoilt = [int(not right and exact) for right, exact in zip(timeline["correct"], exact_correct, strict=True)]

    def means(values: Sequence[float]) -> list[float]:
        return [round(sum(part) / len(part), 4) for part in (values[start : start + stretch] for start in starts)]

    return {
        "accuracy": replay.get("accuracy"),
        "agreement": replay["agreement"],
        "relative_cost": replay["relative_cost"],
        "static": replay.get("static") or [],
        "steps": count,
        "stretch": stretch,
        "level": means(timeline["level"]),
        "confidence": means(timeline["confidence"]),
        "right": means([int(right) for right in timeline["correct"]]),
        "spoilt": means(spoilt),
        "label": [timeline["label"][start] for start in starts],
        "notes": [notes[start] for start in starts] if notes else [],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _embed(value: Any) -> str:
    """JSON that can stand within a script element: no character in it can end the element or open a comment."""
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: Any) -> Any:
    """The same with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
