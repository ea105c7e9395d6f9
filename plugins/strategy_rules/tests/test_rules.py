from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobiprox_strategy_rules.conditions import parse
from mobiprox_strategy_rules.strategy import Rules

from mobiprox_core.errors import MobiproxError, UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Options, Rerun
from mobiprox_core.testing import StrategyContract
from mobiprox_core.testing.strategy import calibrations

NOTHING = ClassConfidence(0, 0, None, None)


class TestRulesContract(StrategyContract):
    @pytest.fixture
    def offer(self) -> Rules:
        return Rules()

    @pytest.fixture(params=[None, "naive", {"cascade": {"max_disagreement_pp": 1}}], ids=["alone", "naive", "cascade"])
    def options(self, request: pytest.FixtureRequest) -> Options:
        if request.param:
            pytest.importorskip(f"mobiprox_strategy_{request.param if isinstance(request.param, str) else 'cascade'}")
        rules = [{"when": "battery < 20", "at_least": 4}, {"when": "confidence < 0.3 or temperature_c > 60", "at_most": 1}]
        return {"rules": rules, "then": request.param}


def holds(text: str, **known: Any) -> bool | None:
    return parse(text)(Observation(**{"label": 3, "confidence": 0.5, "level": 2, **known}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("battery < 20", True),
        ("battery >= 20", False),
        ("battery == 15", True),
        ("charging", False),
        ("not charging", True),
        ("charging == false", True),
        ("not charging and battery < 20", True),
        ("charging or battery > 20", False),
        ("22 <= hour < 24", True),
        ("23 <= hour < 24", False),
        ("hour < 6 or hour >= 22", True),
        ("purpose == 'fall detection'", True),
        ('purpose != "fall detection"', False),
        ("(label == 3 or level == 9) and confidence <= .5", True),
        ("label == 3 or level == 9 and confidence > 0.5", True),
        ("not (label == 3 and level == 2)", False),
        ("not not true", True),
        ("temperature_c > 40", None),
        ("not temperature_c > 40", None),
        ("temperature_c > 40 and battery < 20", None),
        ("temperature_c > 40 or battery < 20", True),
        ("temperature_c > 40 and battery > 20", False),
        ("temperature_c > -40 or deadline_ms < 1e3", True),
    ],
)
def test_a_condition_means_what_it_says(text: str, expected: bool | None) -> None:
    assert holds(text, battery=0.15, charging=False, hour=22.5, purpose="fall detection", deadline_ms=100.0) is expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "ends"),
        ("battery <", "ends"),
        ("batery < 20", "did you mean 'battery'"),
        ("battery < 20 %", "'%'"),
        ("battery = 20", "'='"),
        ("battery < 'low'", "cannot be compared"),
        ("purpose < 'a'", "cannot be ordered"),
        ("charging > 3", "cannot be compared"),
        ("battery", "neither true nor false"),
        ("battery < 20 hour", "'hour'"),
        ("(battery < 20", "ends"),
        ("battery < 20)", "')'"),
        ("__import__('os').system('x')", "'.system('x')' means nothing"),
        ("__import__('os')", "nothing is called '__import__'"),
        ("(" * 200 + "true" + ")" * 200, "deep"),
        ("not " * 200 + "true", "deep"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert hint in str(caught.value)


@given(st.text("abcdefghijklmnop_0123456789.<>=!()' \"andortu", max_size=60))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        condition = parse(text)
    except UsageError:
        return
    assert condition(Observation(0, 0.5, 0)) in (True, False, None)


@given(st.integers(0, 10**6))
def test_a_condition_is_evaluated_as_python_does(seed: int) -> None:
    """Random conditions without unknowns, whose value Python tells."""
    rng = random.Random(seed)

    def term(depth: int) -> str:
        kind = rng.randrange(5) if depth else 0
        if kind == 0:
            return f"{rng.choice(['confidence', 'label', 'level'])} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} {rng.randrange(4)}"
        if kind == 1:
            return f"not {term(depth - 1)}" if rng.random() < 0.5 else f"({term(depth - 1)})"
        if kind == 2:
            return f"{rng.randrange(3)} <= level < {rng.randrange(5)}"
        return f"({term(depth - 1)}) {rng.choice(['and', 'or'])} {term(depth - 1)}"

    text = term(4)
    o = Observation(rng.randrange(4), float(rng.randrange(2)), rng.randrange(4))
    assert parse(text)(o) is eval(text, {}, {"confidence": o.confidence, "label": o.label, "level": o.level})


def levels_of(*rules: dict[str, Any], then: Any = None, battery: list[float], count: int = 10) -> list[int]:
    levels = [LevelCalibration(1.0, None, 1.0, NOTHING, (NOTHING,))] * count
    strategy = Rules().create({"rules": list(rules), "then": then}, levels)
    state, level, walked = strategy.start(), 0, []
    for share in battery:
        state, level = strategy.step(state, Observation(0, 0.9, level, battery=share))
        walked.append(level)
    return walked


LOW = {"when": "battery < 20", "at_least": 4}


def test_without_another_strategy_the_exact_network_runs_unless_a_rule_says_otherwise() -> None:
    assert levels_of(LOW, battery=[0.5, 0.1, 0.5]) == [0, 4, 0]


def test_a_later_rule_wins() -> None:
    assert levels_of(LOW, {"when": "battery < 5", "at_most": 2}, battery=[0.1, 0.01]) == [4, 2]
    assert levels_of({"when": "battery < 5", "exactly": 2}, LOW, battery=[0.1, 0.01]) == [4, 4]


def test_levels_beyond_the_last_mean_the_last() -> None:
    assert levels_of({"when": "true", "at_least": 99}, battery=[0.5], count=3) == [2]
    assert levels_of({"when": "true", "exactly": 99}, battery=[0.5], count=3) == [2]


def test_another_strategy_moves_within_the_limits() -> None:
    pytest.importorskip("mobiprox_strategy_naive")
    full, low = [0.9] * 4, [0.1] * 2
    assert levels_of({"when": "battery < 20", "exactly": 7}, then="naive", battery=[*full, *low, 0.9]) == [0, 1, 2, 3, 7, 7, 6]
    assert levels_of({"when": "battery > 80", "at_most": 2}, then={"naive": {}}, battery=full) == [0, 1, 2, 2]


def test_a_rerun_of_the_other_strategy_is_kept_within_the_limits() -> None:
    pytest.importorskip("mobiprox_strategy_cascade")
    levels = calibrations(6)
    then = {"cascade": {"threshold": 0.8, "level": 5}}

    def asked(when: str) -> int:
        strategy = Rules().create({"rules": [{"when": when, "at_least": 4}], "then": then}, levels)
        return strategy.step(strategy.start(), Observation(0, 0.5, 5))[1]

    assert (asked("false"), type(asked("false"))) == (0, Rerun)
    assert (asked("true"), type(asked("true"))) == (4, Rerun)
    strategy = Rules().create({"rules": [{"when": "true", "at_least": 5}], "then": then}, levels)
    _, level = strategy.step(strategy.start(), Observation(0, 0.5, 5))
    assert (level, type(level)) == (5, int)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"rules": [LOW, {"when": "batery < 3", "exactly": 0}]}, r"rules\[1\].when"),
        ({"rules": [LOW], "then": "confidenc"}, "did you mean 'confidence'"),
        ({"rules": [LOW], "then": {"confidence": {"lo": 0.5}}}, "then"),
        ({"rules": [LOW], "then": {"kalman": {"less": 1.0}}}, "then"),
    ],
)
def test_what_is_wrong_is_found_before_anything_runs(options: dict[str, Any], hint: str) -> None:
    pytest.importorskip("mobiprox_strategy_kalman")
    with pytest.raises(MobiproxError, match=hint):
        Rules().check(options)
