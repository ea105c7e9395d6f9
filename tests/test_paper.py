"""The tables of the paper, from replays made up here; the experiments themselves are checked by test_examples.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mobiprox_core import experiment, plugins

FILE = Path(__file__).parents[1] / "examples" / "paper" / "tables.py"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_tables", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def replayed(gain_pp: float, low_pp: float, high_pp: float, cost: float) -> dict[str, Any]:
    paired = {"difference_pp": gain_pp, "low_pp": low_pp, "high_pp": high_pp, "units": 5}
    return {"against_exact": paired, "against_static": paired, "relative_cost": cost}


@pytest.mark.parametrize(
    ("loss", "cost", "words"),
    [(1, 0.5, "reached"), (2, 0.8, "reached"), (2, 0.9, "as accurate, dearer"), (3, 0.5, "cheaper, less accurate"), (3, 0.9, "missed")],
)
def test_a_verdict_says_what_is_worse(tables: ModuleType, loss: float, cost: float, words: str) -> None:
    assert tables.verdict(loss, cost, 2, 0.8) == words


def test_the_goal_does_not_hold_chance_against_a_loss(tables: ModuleType) -> None:
    """2 points lost, but the interval includes none: what the paper says is missed, the goal of no loss is not."""
    table = tables.TABLES[5]
    [first, *_] = tables.compared(table, [replayed(-2, -5, 1, 0.2)] * len(table.rows))
    assert (first["verdict"], first["goal"]) == ("cheaper, less accurate", "reached")
    assert (first["ours"]["loss_pp"], first["ours"]["loss_low_pp"], first["ours"]["loss_high_pp"]) == (2, -1, 5)
    [first, *_] = tables.compared(table, [replayed(-2, -3, -1, 0.2)] * len(table.rows))
    assert first["goal"] == "cheaper, less accurate"


def test_every_strategy_of_a_table_is_known(tables: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    registry = plugins.load()
    for number, table in tables.TABLES.items():
        assert (FILE.parent / f"table{number}.yaml").is_file()
        for row in table.rows:
            spelt = str(row.strategy.to_json()).replace("'", '"')
            assert experiment.choose("strategy", spelt, registry, "row") == row.strategy
        tables.show(number, tables.compared(table, [replayed(0, -1, 1, 0.4)] * len(table.rows)))
        assert capsys.readouterr().out.count("reached") >= 1
