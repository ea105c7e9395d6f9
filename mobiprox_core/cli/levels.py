"""The table of levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import number, percent, print_table


def print_levels(result: Mapping[str, Any]) -> None:
    """The table of levels of a run or a new measurement."""
    exact = result.get("exact") or {}
    base = exact.get("test_accuracy")
    rows = []
    for level in result["levels"]:
        test_loss = level.get("test_qos_loss_pp")
        rows.append(
            (
                str(level["level"]),
                percent(None if base is None or test_loss is None else base - test_loss / 100),
                number(level.get("qos_loss_pp"), ".2f"),
                number(test_loss, ".2f"),
                number(level["latency_ms"], ".4g"),
                number(level["speedup"], ".2f") + "x",
                number(level.get("energy_mj"), ".3g"),
            )
        )
    head = ("level", "accuracy", "loss pp (tuning)", "loss pp (test)", "latency ms", "speedup", "energy mJ")
    used = [i for i in range(len(head)) if any(row[i] != "-" for row in rows)]
    print_table([head[i] for i in used], [[row[i] for i in used] for row in rows])
