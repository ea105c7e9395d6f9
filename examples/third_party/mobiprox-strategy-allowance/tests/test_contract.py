import pytest
from mobiprox_strategy_allowance.plugin import Allowance, Spending

from mobiprox_core.interfaces import Observation
from mobiprox_core.testing import StrategyContract


class TestAllowance(StrategyContract):
    @pytest.fixture
    def offer(self) -> Allowance:
        return Allowance()


def test_no_more_is_spent_than_is_allowed() -> None:
    strategy = Spending(share=0.6, costs=(1.0, 0.7, 0.5, 0.3))
    state, level, spent = strategy.start(), 0, 0.0
    for index in range(1000):
        state, level = strategy.step(state, Observation(0, 0.4 if index % 5 == 0 else 0.9, level))
        spent += strategy.costs[level]
    assert 0.5 <= spent / 1000 <= 0.61
