"""Strategies in C walk the levels that their Python twins walk."""

from __future__ import annotations

import json
import random
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mobiprox_strategy_cascade.plugin import mobiprox_strategies as cascade
from mobiprox_strategy_confidence.plugin import mobiprox_strategies as confidence
from mobiprox_strategy_guarded.plugin import mobiprox_strategies as guarded
from mobiprox_strategy_kalman.plugin import mobiprox_strategies as kalman
from mobiprox_strategy_naive.plugin import mobiprox_strategies as naive
from mobiprox_strategy_rules.conditions import parse
from mobiprox_strategy_rules.plugin import mobiprox_strategies as rules
from mobiprox_strategy_state.plugin import mobiprox_strategies as state
from mutations import mutated_json

from mobiprox_core.adaptation import calibration_from_json
from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import Observation, Rerun

OFFERS = {offer.name: offer for offer in (*naive(), *state(), *confidence(), *kalman(), *cascade(), *guarded(), *rules())}
TRACES = 10_000

Json = dict[str, Any]


def walk(runner: Path, lines: list[Json]) -> list[Json]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([runner, "--steps"], input=text, capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def in_python(line: Json) -> list[int]:
    levels = calibration_from_json(line["calibration"])
    strategy = OFFERS[line["strategy"]].create(line["options"], levels)
    now, level, walked = strategy.start(), 0, []
    for label, sure, *around in line["trace"]:
        told = around[0] if around else {}
        now, level = strategy.step(now, Observation(label, sure, int(level), **told, rerun=isinstance(level, Rerun)))
        walked.append(int(level))
    return walked


def random_calibration(rng: np.random.Generator, levels: int, classes: int) -> list[Json]:
    """Anything that a bundle may hold: classes never seen, never right, never wrong, or surer when wrong."""

    def side() -> Json:
        right, wrong = (int(n) for n in rng.integers(0, 12, 2) * rng.integers(0, 2, 2))
        means = rng.random(2) if rng.random() < 0.5 else np.sort(rng.random(2))[::-1]
        return {
            "correct_count": right,
            "wrong_count": wrong,
            "correct_mean": float(means[0]) if right else None,
            "wrong_mean": float(means[1]) if wrong else None,
        }

    return [
        {
            "relative_cost": float(rng.uniform(0.1, 1)),
            "accuracy": None if rng.random() < 0.2 else float(rng.random()),
            "temperature": float(rng.uniform(0.5, 3)),
            "overall": side(),
            "classes": [side() for _ in range(classes)],
            "agreement": random_agreement(rng),
        }
        for _ in range(levels)
    ]


def random_agreement(rng: np.random.Generator) -> Json:
    """Shares fall as thresholds rise, some of them to nothing."""
    count = int(rng.integers(1, 9))
    falling = {
        name: np.sort(rng.random(count) * (rng.random(count) < 0.8))[::-1].tolist() for name in ("accepted", "differing", "group_differing")
    }
    return {"samples": 500, "groups": int(rng.choice([0, 40])), "thresholds": [0.0, *np.sort(rng.random(count - 1)).tolist()], **falling}


NUMBERS = ("battery", "temperature_c", "deadline_ms", "hour", "confidence", "label", "level", "20", "3", "0.5", "-1.", ".7e1", "1e999")
TEXTS = ("purpose", "'fitness'", '"é"', "''")


def random_condition(rng: np.random.Generator, depth: int = 0) -> str:
    """Any that has a meaning."""
    choice = rng.random() + depth / 12
    if choice < 0.5:
        word = str(rng.choice([" and ", " or ", " and  not "]))
        return "(" + word.join(random_condition(rng, depth + 1) for _ in range(int(rng.integers(2, 4)))) + ")"
    if choice < 0.6:
        return f"not {random_condition(rng, depth + 1)}"
    if choice < 0.7:
        return str(rng.choice(["charging", "true", "(false)", "charging == true", "charging != (level < 2)"]))
    if choice < 0.8:
        return f"{rng.choice(TEXTS)}{rng.choice(['==', ' != '])}{rng.choice(TEXTS)}"
    signs = ("<", " <= ", ">", " >=", "== ", "!=")
    return "".join(f"{rng.choice(NUMBERS)}{rng.choice(signs)}" for _ in range(int(rng.integers(1, 3)))) + str(rng.choice(NUMBERS))


def random_surroundings(rng: np.random.Generator) -> Json:
    told = {
        "battery": float(rng.choice([0.2, 0.03, rng.random()])),
        "charging": bool(rng.random() < 0.5),
        "temperature_c": float(rng.choice([20, 3, rng.normal(30, 10)])),
        "deadline_ms": float(rng.uniform(0, 40)),
        "hour": float(rng.uniform(0, 24)),
        "purpose": str(rng.choice(["fitness", "é", ""])),
    }
    return {name: value for name, value in told.items() if rng.random() < 0.7}


def random_options(rng: np.random.Generator, name: str, levels: int) -> Json:
    options: Json = {}
    if name == "rules":
        options["rules"] = [
            {"when": random_condition(rng), str(rng.choice(["at_least", "at_most", "exactly"])): int(rng.integers(0, levels + 2))}
            for _ in range(int(rng.integers(1, 5)))
        ]
        inner = str(rng.choice(["naive", "cascade", "guarded", "kalman"]))
        return options | ({"then": {inner: random_options(rng, inner, levels)}} if rng.random() < 0.1 else {})
    if name == "cascade":
        again = int(rng.integers(0, levels))
        options |= {"again": again} if rng.random() < 0.5 else {}
        options |= {"level": int(rng.integers(again + 1, levels))} if again + 1 < levels and rng.random() < 0.5 else {}
        options |= {"change": float(rng.choice([0, 1, rng.random()]))} if rng.random() < 0.5 else {}
        choice = rng.random()
        return options | (
            {"threshold": float(rng.random())}
            if choice < 0.3
            else {"max_disagreement_pp": float(rng.uniform(0, 100))}
            if choice < 0.8
            else {}
        )
    if name == "guarded":
        options |= {"max_loss_pp": float(rng.uniform(10, 95)), "promise": str(rng.choice(["probable", "expected"]))}
        options |= {"unit": str(rng.choice(["group", "sample"])), "confidence": float(rng.uniform(0.3, 0.95))}
        options |= {"audit": float(rng.choice([0, 0.05, rng.random()])), "gain": float(rng.uniform(0.001, 1))} if rng.random() < 0.7 else {}
        return options | ({"level": int(rng.integers(1, levels))} if levels > 1 and rng.random() < 0.3 else {})
    if rng.random() < 0.7:
        options["increase"] = str(rng.choice(["linear", "exponential"]))
    if name == "state" and rng.random() < 0.5:
        options |= {"memory": int(rng.integers(1, 6)), "votes": int(rng.integers(1, 5))}
    if name == "confidence" and rng.random() < 0.5:
        low, high = sorted(rng.random(2).tolist())
        options |= {"low": low, "high": high, "shrinkage": float(rng.uniform(0, 9))}
    if name == "kalman" and rng.random() < 0.5:
        less, more = sorted(rng.random(2).tolist())
        options |= {
            "less": less,
            "more": more,
            "process_noise": float(rng.uniform(0.01, 1)),
            "measurement_noise": float(rng.uniform(0.1, 4)),
        }
    return options


def random_line(rng: np.random.Generator) -> Json:
    levels, classes, steps = int(rng.integers(1, 14)), int(rng.integers(1, 5)), int(rng.integers(0, 40))
    name = str(rng.choice(sorted(OFFERS)))
    labels = rng.integers(0, classes, steps)
    stay = rng.random(steps) < 0.7
    for i in range(1, steps):
        labels[i] = labels[i - 1] if stay[i] else labels[i]
    trace = [
        [int(label), float(sure), *([random_surroundings(rng)] if name == "rules" else [])]
        for label, sure in zip(labels, rng.random(steps) ** 0.3, strict=True)
    ]
    while True:
        options, calibration = random_options(rng, name, levels), random_calibration(rng, levels, classes)
        with suppress(UsageError):  # a bound that so few samples cannot promise
            OFFERS[name].create(options, calibration_from_json(calibration))
            break
    return {
        "strategy": name,
        "options": options,
        "calibration": calibration,
        "trace": trace,
    }


def test_ten_thousand_random_traces_are_walked_alike(runner: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [random_line(rng) for _ in range(TRACES)]
    answers = walk(runner, lines)
    assert answers[-1] == {"event": "end", "ok": True}
    assert len(answers) == TRACES + 1
    different = [i for i, line in enumerate(lines) if answers[i]["levels"] != in_python(line)]
    assert not different, (lines[different[0]], answers[different[0]], in_python(lines[different[0]]))


def test_a_confidence_exactly_on_a_limit_is_judged_alike(runner: Path) -> None:
    """Limits are computed in floating point: to the last bit the same."""
    rng = np.random.default_rng(1)
    lines = []
    for _ in range(300):
        line = random_line(rng) | {"strategy": "confidence", "options": {}}
        strategy = OFFERS["confidence"].create({}, calibration_from_json(line["calibration"]))
        limits = [limit for bands in strategy.bands for band in bands for limit in band if limit <= 1]
        if limits:
            line["trace"] = [[int(rng.integers(0, len(line["calibration"][0]["classes"]))), float(rng.choice(limits))] for _ in range(30)]
            lines.append(line)
    answers = walk(runner, lines)
    assert [answer["levels"] for answer in answers[:-1]] == [in_python(line) for line in lines]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"strategy": "unheard"}, "strategy 'unheard' is not part of this runtime"),
        ({"options": {"increase": "sideways"}}, "neither linear nor exponential"),
        ({"options": {"increase": 3}}, "option 'increase' is of the wrong type"),
        ({"options": {"patience": 3}}, "no option is called 'patience'"),
        ({"strategy": "kalman", "options": {"less": 0.9, "more": 0.2}}, "0 <= less <= more <= 1"),
        ({"strategy": "cascade", "options": {"level": 4}}, "no level of the number in option 'level'"),
        ({"strategy": "cascade", "options": {"level": 1, "again": 2}}, "'level' must be above 'again'"),
        ({"strategy": "cascade", "options": {"threshold": 0.5, "max_disagreement_pp": 2}}, "given and to be fitted"),
        ({"strategy": "guarded"}, "'max_loss_pp' must be given"),
        ({"strategy": "guarded", "options": {"max_loss_pp": 0.01, "unit": "sample"}}, "too few calibration data"),
        ({"strategy": "guarded", "options": {"max_loss_pp": 50, "level": 4}}, "no level of the number in option 'level'"),
        ({"strategy": "rules"}, "'rules' is a list of conditions"),
        ({"strategy": "rules", "options": {"rules": {}}}, "option 'rules' is of the wrong type"),
        ({"strategy": "rules", "options": {"rules": [{"when": "true", "at_least": 1, "at_most": 2}]}}, "rules[0] wants one of at_least"),
        ({"strategy": "rules", "options": {"rules": [{"when": "true", "exactly": 1, "then": 2}]}}, "no option is called 'then'"),
        ({"strategy": "rules", "options": {"rules": [{"when": "true", "exactly": 1}], "then": "unheard"}}, "then: strategy 'unheard'"),
        ({"strategy": "rules", "options": {"rules": [{"when": "true", "exactly": 1}], "then": {"state": {"memory": "x"}}}}, "'memory'"),
        ({"trace": [[7, 0.5]]}, "class 7 at level 0: there are 3 classes"),
        ({"trace": [["a", 0.5]]}, "an observation is [label, confidence]"),
        ({"calibration": []}, "not a list of levels"),
    ],
)
def test_what_a_strategy_cannot_do_is_said(change: Json, reason: str, runner: Path) -> None:
    rng = np.random.default_rng(2)
    line = {"strategy": "naive", "options": {}, "calibration": random_calibration(rng, 4, 3), "trace": [[0, 0.5]]} | change
    [*_, end] = walk(runner, [line])
    assert not end["ok"]
    assert reason in end["error"]


def edited(text: str, rng: np.random.Generator) -> str:
    """A condition with a piece left out, doubled, or put in; most mean nothing any more."""
    at, end = sorted(rng.integers(0, len(text) + 1, 2).tolist())
    pieces = [*"()'\"<=-.é\v", "not ", "and", "==", "1e", "(" * 51, "not " * 51, "not " * 50 + "true", text[at:end]]
    return text[:at] + str(rng.choice(pieces)) + text[end if rng.random() < 0.5 else at :]


def test_conditions_that_mean_nothing_are_refused_by_both(sanitized: Path) -> None:
    rng = np.random.default_rng(4)
    line = {"strategy": "rules", "calibration": random_calibration(rng, 3, 2), "trace": [[0, 0.5]]}
    agreed = {True: 0, False: 0}
    lines, wanted = [], []
    for _ in range(2000):
        when = edited(random_condition(rng), rng)
        lines.append(line | {"options": {"rules": [{"when": when, "exactly": 1}]}})
        try:
            parse(when)
            wanted.append(len(when) <= 1000)
        except UsageError:
            wanted.append(False)
    text = "".join(json.dumps(own) + "\n" for own in lines)
    done = subprocess.run([sanitized, "--steps"], input=text, capture_output=True, text=True, check=False)
    [*answers, end] = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert end["event"] == "end", done.stderr[-4000:]
    for own, answer, right in zip(lines, answers, wanted, strict=True):
        assert (answer["event"] == "walked") == right, (own["options"], answer)
        agreed[right] += 1
    assert min(agreed.values()) > 100


def edited_lines(count: int, seed: int) -> list[Json]:
    """Traces of strategies with options as a damaged bundle may have them."""
    rng, edits = np.random.default_rng(seed), random.Random(seed)
    lines = [random_line(rng) for _ in range(count)]
    return [line | {"options": mutated_json(line["options"], edits)} for line in lines]


def test_damaged_options_are_refused_with_a_reason_or_walked(sanitized: Path) -> None:
    [*answers, end] = walk(sanitized, edited_lines(500, seed=5))
    assert (len(answers), end["event"]) == (500, "end")
    refused = [answer for answer in answers if answer["event"] == "refused"]
    assert all(answer["error"] for answer in refused)
    assert 50 < len(refused) < 450


STRANGERS = """
#include <stdlib.h>
#include "mobiprox_strategy.h"

static void *create(const mbx_setup *setup, char *error, size_t bytes) {
    (void)error, (void)bytes;
    int *self = malloc(2 * sizeof *self);
    if (self) self[0] = setup->level_count, self[1] = (int)mbx_option_number(setup->options, "by", 1);
    return self;
}
static void start(const void *self, void *state) { (void)self, *(int *)state = 0; }
static mbx_choice step(const void *self, void *state, const mbx_observation *seen) {
    (void)seen;
    const int *own = self;
    *(int *)state = (*(int *)state + own[1]) % own[0];
    return (mbx_choice){*(int *)state, 0};
}
extern const mbx_strategy mbx_strategy_round;
const mbx_strategy mbx_strategy_round = {"round", sizeof(int), create, start, step};
"""


def test_a_strangers_strategy_is_one_c_file(build: Any, tmp_path: Path) -> None:
    (tmp_path / "round.c").write_text(STRANGERS)
    runner = build(MOBIPROX_STRATEGIES=f"round={tmp_path / 'round.c'}")
    line = {
        "strategy": "round",
        "options": {"by": 2},
        "calibration": random_calibration(np.random.default_rng(0), 5, 2),
        "trace": [[0, 0.5]] * 6,
    }
    assert walk(runner, [line])[0]["levels"] == [2, 4, 1, 3, 0, 2]
    assert walk(runner, [line | {"strategy": "naive", "options": {}}])[0]["levels"] == [0, 1, 2, 3, 4, 4]


def test_walking_is_clean_under_sanitizers(sanitized: Path) -> None:
    rng = np.random.default_rng(3)
    lines = [random_line(rng) for _ in range(200)]
    assert walk(sanitized, lines)[-1]["ok"]
