"""What every energy meter owes: millijoules of what ran inside, or a word on why it cannot measure."""

from __future__ import annotations

import math
import time

import pytest

from mobiprox_core.interfaces import Meter, Options

from .contract import Contract, missing
from .offer import check_description, check_loads_lightly

LEAST_W, MOST_W = 0.05, 5000.0
"""Between a phone's rest and a full server; a meter of a single part may measure less and says so by its own xfail."""


class MeterContract(Contract):
    """Give the fixture `meter`. Where it cannot measure, only what it says is tested."""

    kind = "meter"
    subject = "meter"

    @pytest.fixture
    def meter(self) -> Meter:
        missing("MeterContract", "meter", "your meter")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def able(self, meter: Meter) -> Meter:
        if (problem := meter.problem()) is not None:
            pytest.skip(f"it cannot measure here: {problem}")
        return meter

    def test_it_describes_itself(self, meter: Meter, options: Options) -> None:
        check_description(meter, options)

    def test_it_loads_lightly(self, meter: Meter) -> None:
        check_loads_lightly(meter)

    def test_it_can_measure_or_says_why_not(self, meter: Meter) -> None:
        problem = meter.problem()
        assert problem is None or (isinstance(problem, str) and problem.strip()), "a problem is a sentence, None is no problem"
        assert meter.problem() == problem, "another answer the second time"

    def test_energy_is_in_millijoules(self, able: Meter) -> None:
        energy_mj, seconds = spent(able, 0.2)
        assert math.isfinite(energy_mj)
        watts = energy_mj / 1000 / seconds
        assert LEAST_W <= watts <= MOST_W, f"{energy_mj:.4g} mJ in {seconds:.2f} s are {watts:.3g} W: is it in another unit?"

    def test_longer_work_takes_more_energy(self, able: Meter) -> None:
        short, long = (min(spent(able, seconds)[0] for _ in range(2)) for seconds in (0.1, 0.6))
        assert long > 1.5 * short, f"{short:.4g} mJ for 0.1 s of work, {long:.4g} mJ for 0.6 s"

    def test_measurements_do_not_add_up(self, able: Meter) -> None:
        alone, _ = spent(able, 0.1)
        spent(able, 0.6)
        after, _ = spent(able, 0.1)
        assert after < 3 * alone, f"{after:.4g} mJ after another measurement, {alone:.4g} mJ alone"

    def test_an_error_inside_comes_out(self, able: Meter) -> None:
        with pytest.raises(ZeroDivisionError), able.measure():
            raise ZeroDivisionError


def spent(meter: Meter, seconds: float) -> tuple[float, float]:
    """What computing for about so many seconds takes: millijoules, and the seconds that it really took."""
    started = time.perf_counter()
    with meter.measure() as reading:
        while time.perf_counter() - started < seconds:
            sum(range(1000))
    return float(reading.energy_mj), time.perf_counter() - started
