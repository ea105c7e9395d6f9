"""What was measured, and what follows from it without further measuring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .configuration import Configuration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
class OperatingPoint:
    """A configuration with its measured loss and cost.

    qos_loss_pp: percentage points below the exact baseline on the tuning data; positive is worse.
    latency_ms: median of one inference at batch 1. energy_mj: mean of one inference, None without a meter.
    qos_loss_ci_pp, latency_ci_ms: 95 % confidence half-widths.
    """

    configuration: Configuration
    qos_loss_pp: float
    latency_ms: float
    energy_mj: float | None = None
    qos_loss_ci_pp: float = 0.0
    latency_ci_ms: float = 0.0


def pareto_front(points: Iterable[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """The points that no other dominates in (loss, latency), dearest first: every next one is faster and loses more.

    Of points equal in both, the first stays.
    """
    front: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.qos_loss_pp, p.latency_ms)):
        if not front or point.latency_ms < front[-1].latency_ms:
            front.append(point)
    return tuple(front)
