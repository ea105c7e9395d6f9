"""The table of levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..plan import memory_line
from .base import number, percent, print_table


def print_levels(result: Mapping[str, Any]) -> None:
    """The table of levels of a run or a new measurement."""
    exact, qos = result.get("exact") or {}, result["qos"]
    unit, base, sign = qos["unit"], exact.get("test_score"), 1 if qos["higher_is_better"] else -1
    form = ".2f" if unit in ("pp", "dB") else ".3g"
    rows = []
    for level in result["levels"]:
        test_loss = level.get("test_qos_loss")
        score = None if base is None or test_loss is None else base - sign * test_loss
        rows.append(
            (
                str(level["level"]),
                percent(None if score is None else score / 100) if unit == "pp" else number(score, ".4g"),
                number(level.get("qos_loss"), form),
                number(level.get("qos_loss_upper"), form),
                number(test_loss, form),
                number(level["latency_ms"], ".4g"),
                number(level["speedup"], ".2f") + "x",
                number(level.get("energy_mj"), ".3g"),
                number(None if level.get("size_bytes") is None else level["size_bytes"] / 1e6, ".3g"),
            )
        )
    losses = (f"loss {unit} (expected)", "at most", f"loss {unit} (test)")
    head = ("level", qos["name"], *losses, "latency ms", "speedup", "energy mJ", "size MB")
    used = [i for i in range(len(head)) if any(row[i] != "-" for row in rows)]
    print_table([head[i] for i in used], [[row[i] for i in used] for row in rows])
    if memory := result.get("memory_bytes"):
        click.echo(memory_line(memory), err=True)
