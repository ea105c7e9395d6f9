"""What every adaptation strategy owes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mobiprox_core.adaptation import agreement
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, Options, Rerun, Strategy, StrategyOffer

from .contract import Contract, missing
from .offer import check_description, check_loads_lightly

CLASSES = 4

MOST_BYTES = 16 * 1024
"""What a state may take, written as JSON: it is stored with every step of a replay, and kept on phones."""

Twin = Callable[[Options, Sequence[LevelCalibration], Sequence[Observation]], Sequence[int]]
"""Walks a trace with the strategy's twin in another language; the levels, one for each observation (a rerun is declined)."""


class StrategyContract(Contract):
    """Give the fixture `offer` (a StrategyOffer), `options` if it requires any, and `twin` if the strategy has one in C."""

    kind = "strategy"
    subject = "offer"

    @pytest.fixture
    def offer(self) -> StrategyOffer:
        missing("StrategyContract", "offer", "your StrategyOffer")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def twin(self) -> Twin | None:
        return None

    @pytest.fixture(params=[1, 2, 10], ids="{} levels".format)
    def levels(self, request: pytest.FixtureRequest) -> tuple[LevelCalibration, ...]:
        return calibrations(request.param)

    @pytest.fixture
    def strategy(self, offer: StrategyOffer, options: Options, levels: Sequence[LevelCalibration]) -> Strategy:
        return offer.create(options, levels)

    def test_it_describes_itself(self, offer: StrategyOffer, options: Options) -> None:
        check_description(offer, options)

    def test_it_loads_lightly(self, offer: StrategyOffer) -> None:
        check_loads_lightly(offer)

    def test_it_stays_within_the_levels(self, strategy: Strategy, levels: Sequence[LevelCalibration]) -> None:
        for seed in range(5):
            for _, _, _, level in walk(strategy, trace(200, seed)):
                assert isinstance(level, int)
                assert 0 <= level < len(levels)

    def test_it_stays_within_the_levels_when_nothing_ever_changes(self, strategy: Strategy, levels: Sequence[LevelCalibration]) -> None:
        for confidence in (0.0, 0.5, 1.0):
            assert all(0 <= level < len(levels) for _, _, _, level in walk(strategy, [Observation(1, confidence, 0)] * 100))

    def test_what_it_wants_again_is_at_a_dearer_level(self, strategy: Strategy) -> None:
        for seed in range(5):
            for _, observation, _, level in walk(strategy, trace(200, seed)):
                assert not isinstance(level, Rerun) or level < observation.level, "a rerun that is no dearer may never end"

    def test_it_stands_that_a_rerun_is_declined(self, strategy: Strategy, levels: Sequence[LevelCalibration]) -> None:
        state, level = strategy.start(), 0
        for observation in trace(200, 2):
            state, level = strategy.step(state, replace(observation, level=int(level)))
            assert 0 <= level < len(levels)

    def test_it_is_pure(self, offer: StrategyOffer, options: Options, levels: Sequence[LevelCalibration]) -> None:
        strategy, twin = offer.create(options, levels), offer.create(options, levels)
        assert strategy.start() == strategy.start() == twin.start()
        for state, observation, after, level in walk(strategy, trace(100, 0)):
            before = json.dumps(state)
            assert strategy.step(state, observation) == (after, level)
            assert twin.step(state, observation) == (after, level)
            assert json.dumps(state) == before, "a step changed the state that it was given"

    def test_its_state_is_hashable_and_survives_json(self, strategy: Strategy) -> None:
        for state, observation, after, level in walk(strategy, trace(100, 1)):
            hash(state)
            restored = tuples(json.loads(json.dumps(state)))
            assert restored == state
            assert strategy.step(restored, observation) == (after, level)

    def test_its_state_stays_small(self, strategy: Strategy) -> None:
        last = strategy.start()
        for _, _, last, _ in walk(strategy, trace(3000, 3)):  # noqa: B007  # the state after the last step is asked for
            pass
        assert len(json.dumps(last)) <= MOST_BYTES, "the state grows with the stream: phones run for days"

    def test_its_twin_walks_the_same_levels(
        self, strategy: Strategy, twin: Twin | None, options: Options, levels: Sequence[LevelCalibration]
    ) -> None:
        if twin is None:
            pytest.skip("it has no twin: it runs where Python does")
        for seed in range(20):
            observations = trace(200, seed)
            state, level, own = strategy.start(), 0, []
            for observation in observations:
                state, level = strategy.step(state, replace(observation, level=int(level)))
                own.append(int(level))
            other = list(twin(options, levels, observations))
            first = next((i for i, pair in enumerate(zip(own, other, strict=True)) if pair[0] != pair[1]), None)
            assert first is None, f"trace {seed}: at step {first} it goes to level {own[first or 0]}, its twin to {other[first or 0]}"

    def test_it_needs_no_sensors_and_stands_them(self, strategy: Strategy, levels: Sequence[LevelCalibration]) -> None:
        state = strategy.start()
        for observation in (
            Observation(0, 0.9, 0),
            Observation(0, 0.9, 0, battery=0.0, charging=False, temperature_c=95.0, deadline_ms=0.0, hour=0.0, purpose=""),
            Observation(0, 0.9, 0, battery=1.0, charging=True, temperature_c=-10.0, deadline_ms=1e6, hour=23.99, purpose="anything"),
        ):
            state, level = strategy.step(state, observation)
            assert 0 <= level < len(levels)


def calibrations(count: int, seed: int = 0) -> tuple[LevelCalibration, ...]:
    """Levels as a search leaves them: ever cheaper and less accurate; some classes were never predicted, or never wrongly."""
    rng = np.random.default_rng(seed)
    levels = []
    for level in range(count):
        classes = []
        for _ in range(CLASSES):
            correct, wrong = int(rng.integers(0, 40)), int(rng.integers(0, 10))
            classes.append(
                ClassConfidence(
                    correct,
                    wrong,
                    float(rng.uniform(0.5, 1)) if correct else None,
                    float(rng.uniform(0.2, 0.9)) if wrong else None,
                )
            )
        overall = ClassConfidence(sum(c.correct_count for c in classes), sum(c.wrong_count for c in classes), 0.9, 0.6)
        sure = rng.uniform(0.25, 1, 4000)
        differs = rng.random(4000) < 0.02 * level * (1 - sure)
        own = agreement(sure, differs, (np.arange(4000) // 4).astype(np.str_))
        levels.append(LevelCalibration(0.9**level, 0.95 - 0.01 * level, float(rng.uniform(0.7, 2)), overall, tuple(classes), own))
    return tuple(levels)


def trace(length: int, seed: int) -> list[Observation]:
    """A stream whose class stays for a while, predicted with changing confidence. `level` is set when it is walked."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, CLASSES, length), rng.integers(1, 12, length))[:length]
    return [Observation(int(label), float(confidence), 0) for label, confidence in zip(labels, rng.uniform(0, 1, length), strict=True)]


def walk(strategy: Strategy, observations: Sequence[Observation]) -> Iterator[tuple[Any, Observation, Any, int]]:
    """(state, observation, next state, next level) along a trace; each observation says which level ran."""
    state, level = strategy.start(), 0
    for o in observations:
        observation = replace(o, level=int(level))
        while True:
            after, level = strategy.step(state, observation)
            yield state, observation, after, level
            state = after
            if not isinstance(level, Rerun) or level >= observation.level:
                break
            observation = replace(observation, level=int(level), rerun=True)


def tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value
