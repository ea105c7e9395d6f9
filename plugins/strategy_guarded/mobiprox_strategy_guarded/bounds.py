"""Risk control: what a loss seen on calibration units allows to promise of units to come.

Bates et al., "Distribution-free, risk-controlling prediction sets", 2021, for the promise `probable`; Angelopoulos et al., "Conformal
risk control", 2024, for `expected`. Both need losses within [0, 1] that do not rise with the threshold, and exchangeable units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """bound: 0..1, of the mean loss. kind: probable or expected. doubt: 0..1, how often a probable promise may fail.

    levels: among how many levels the cheapest is chosen afterwards; a promise must then hold for all of them at once.
    """

    bound: float
    kind: str
    doubt: float
    levels: int = 1

    def kept(self, mean: float, units: int, binary: bool) -> bool:
        """Whether units with this mean loss allow the promise. binary: every unit lost 0 or 1."""
        if self.kind == "expected":  # the expected loss of the level chosen is at most the sum over all levels
            return (units * mean + 1) / (units + 1) <= self.bound / self.levels
        doubt = self.doubt / self.levels
        return (binomial_tail(mean, units, self.bound) if binary else hoeffding_bentkus(mean, units, self.bound)) <= doubt

    def smallest(self, units: int) -> float:
        """The least bound that so many units could promise, had none of them lost anything."""
        if self.kind == "expected":
            return self.levels / (units + 1)
        return 1 - math.exp(math.log(self.doubt / self.levels) / units)

    def units(self) -> int:
        """How many units the bound needs at least."""
        if self.kind == "expected":
            return math.ceil(self.levels / self.bound - 1 - 1e-9)
        return math.ceil(math.log(self.doubt / self.levels) / math.log1p(-self.bound) - 1e-9)


def binomial_tail(mean: float, units: int, risk: float) -> float:
    """Chance of a mean as small as this or smaller among units that lose 1 with probability `risk`: P(Bin(units, risk) <= units mean)."""
    lost = round(units * mean)
    log_odds, log_term, total = math.log(risk) - math.log1p(-risk), units * math.log1p(-risk), 0.0
    for k in range(lost + 1):
        total += math.exp(log_term)
        log_term += math.log(units - k) - math.log(k + 1) + log_odds if k < units else 0.0
    return min(total, 1.0)


def hoeffding_bentkus(mean: float, units: int, risk: float) -> float:
    """A bound on the chance of a mean as small as this among units with losses in [0, 1] whose expectation is above `risk`."""
    if mean >= risk:
        return 1.0
    nats = (mean * math.log(mean / risk) if mean else 0.0) + (1 - mean) * math.log((1 - mean) / (1 - risk))
    return min(math.exp(-units * nats), math.e * binomial_tail(math.ceil(units * mean - 1e-9) / units, units, risk), 1.0)
