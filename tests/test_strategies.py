"""What every strategy of this repository owes, on random traces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration, Observation, StrategyOffer
from mobiprox_core.stepping import StepRule

OFFERS: list[StrategyOffer] = []
for _name in ("naive", "state", "confidence", "kalman"):
    OFFERS += pytest.importorskip(f"mobiprox_strategy_{_name}.plugin").mobiprox_strategies()

CLASSES = 3
confidences = st.floats(0, 1)
means = st.builds(
    lambda right, wrong, r, w: ClassConfidence(right, wrong, r if right else None, w if wrong else None),
    st.integers(0, 20),
    st.integers(0, 20),
    confidences,
    confidences,
)
calibrations = st.lists(
    st.builds(
        LevelCalibration,
        st.floats(0.1, 1),
        st.floats(0, 1),
        st.floats(0.5, 3),
        means,
        st.tuples(*[means] * CLASSES),
    ),
    min_size=1,
    max_size=12,
)
predictions = st.lists(st.tuples(st.integers(0, CLASSES - 1), confidences), max_size=60)
increases = st.sampled_from([{}, {"increase": "linear"}, {"increase": "exponential"}])


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
@given(levels=calibrations, trace=predictions, options=increases)
@settings(max_examples=60, deadline=None)
def test_a_strategy_stays_within_the_levels_and_is_pure_and_its_state_survives_json(
    offer: StrategyOffer, levels: list[LevelCalibration], trace: list[tuple[int, float]], options: dict[str, str]
) -> None:
    strategy, twin = offer.create(options, levels), offer.create(options, levels)
    state, level = strategy.start(), 0
    for label, confidence in trace:
        observation = Observation(label, confidence, level)
        before, hash_before = tuple(state), hash(state)
        after, chosen = strategy.step(state, observation)
        assert (tuple(state), hash(state)) == (before, hash_before)
        assert strategy.step(state, observation) == (after, chosen)
        assert twin.step(tuple(json.loads(json.dumps(state))), observation) == (after, chosen)
        assert isinstance(chosen, int)
        assert 0 <= chosen < len(levels)
        state, level = after, chosen


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_a_strategy_describes_itself_and_every_option(offer: StrategyOffer) -> None:
    assert offer.name.isidentifier()
    assert offer.summary
    for option in offer.options["properties"].values():
        assert option["description"]
        assert "default" in option


@given(st.integers(1, 30), st.integers(1, 2), st.lists(st.booleans(), max_size=80))
def test_the_step_rule_saturates(levels: int, factor: int, moves: list[bool]) -> None:
    rule, level, step = StepRule(levels, factor), 0, 1
    for more in moves:
        before = level
        level, step = rule.more(level, step) if more else rule.less(level)
        assert 0 <= level < levels
        assert 1 <= step <= levels
        assert (level >= before) if more else (level == before // 2)


def test_a_rule_for_no_levels_is_refused() -> None:
    with pytest.raises(UsageError):
        StepRule(0)
