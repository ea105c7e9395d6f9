"""What was measured, and what follows from it without further measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import erfc, exp, isfinite, pi, sqrt
from typing import TYPE_CHECKING

from .configuration import Configuration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


FAR_BELOW = 8.0
"""Standard errors below zero where the mean of what is left above it is, to two per cent, that of an exponential tail."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What one device reported for one execution plan at one level.

    latencies_ms: float64[R], one per repetition, warm-up excluded.
    outputs: float32[N, K], class scores over the split that was run.
    energy_mj: mean per inference; None where the device has no meter.
    """

    latencies_ms: npt.NDArray[np.float64]
    outputs: npt.NDArray[np.float32]
    energy_mj: float | None = None

    @property
    def latency_ms(self) -> float:
        """The median repetition."""
        import numpy as np

        return float(np.median(self.latencies_ms))


@dataclass(frozen=True, slots=True)
class Loss:
    """value: positive is worse. ci: 95 % confidence half-width. upper: what as many other samples, of as many other groups, lose at most.

    `upper` is one-sided and holds with the confidence that was asked for; it counts the chance in those other samples too, so it may be
    compared with what they measure.
    """

    value: float
    ci: float
    upper: float

    @property
    def error(self) -> float:
        """Standard error."""
        return self.ci / 1.96

    def drawn(self, towards: float, error: float) -> Loss:
        """The best guess from this measurement and from another source that says `towards`, with its standard error.

        Each counts by the inverse of its variance; what other samples add by chance stays.
        """
        if not isfinite(self.value) or not error + self.error:
            return self
        share = error**2 / (error**2 + self.error**2)
        value = towards + share * (self.value - towards)
        return Loss(value, self.ci * sqrt(share), value + (self.upper - self.value) * sqrt((1 + share) / 2))


def not_below_zero(value: float, error: float) -> float:
    """Mean of what is normal with this mean and standard error, given that it is not negative."""
    if not error:
        return max(value, 0.0)
    below = -value / error
    if below > FAR_BELOW:
        return error / below
    return value + error * exp(-(below**2) / 2) / (sqrt(pi / 2) * erfc(below / sqrt(2)))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A configuration with its measured loss and cost.

    qos_loss: below the exact network, in the unit of the experiment's measure (percentage points for accuracy); positive is worse. It is
    what the configuration is expected to lose on data like the tuning data (`prediction.Expectation`); measured: what it lost on the
    tuning data themselves, None where nobody looked. qos_loss_upper: what other data of the same size lose at most (`Loss`); None where it was not asked for.
    divergence: of the outputs from the exact ones, mean over the tuning data; None where it was not measured.
    latency_ms: median of one inference at batch 1. energy_mj: mean of one inference, None without a meter. size_bytes: weights and tables
    of this level, None where nobody asked. qos_loss_ci, latency_ci_ms: 95 % confidence half-widths. refused: why it cannot ship, though
    its loss as a whole could be borne; empty where it can.
    """

    configuration: Configuration
    qos_loss: float
    latency_ms: float
    energy_mj: float | None = None
    qos_loss_ci: float = 0.0
    latency_ci_ms: float = 0.0
    qos_loss_upper: float | None = None
    size_bytes: int | None = None
    refused: str = ""
    measured: Loss | None = None
    divergence: float | None = None

    @property
    def upper(self) -> float:
        """The loss to reckon with."""
        return self.qos_loss if self.qos_loss_upper is None else self.qos_loss_upper


def pareto_front(
    points: Iterable[OperatingPoint], cost: Callable[[OperatingPoint], float] = lambda point: point.latency_ms
) -> tuple[OperatingPoint, ...]:
    """The points that no other dominates in (loss, cost), dearest first: every next one is cheaper and loses more.

    Of points equal in both, the first stays.
    """
    front: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.qos_loss, cost(p))):
        if not front or cost(point) < cost(front[-1]):
            front.append(point)
    return tuple(front)
