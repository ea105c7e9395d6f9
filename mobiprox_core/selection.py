"""Which candidates to measure, and which measured points to ship. Pure: numbers in, a choice out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from .configuration import Configuration
from .interfaces import Candidate
from .measurement import OperatingPoint, pareto_front

T = TypeVar("T")

LEAST_STEP = 1.01
"""A level is at least this much faster than the one before; less is not worth a switch."""

LATENCY_SLACK = 1.05
"""Latencies that are predicted or measured in a hurry are taken to be wrong by at most this factor when two are compared."""


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` items in their order, evenly spaced, first and last among them."""
    if len(items) <= count:
        return tuple(items)
    if count <= 1:
        return tuple(items[-1:]) * count
    return tuple(items[round(i * (len(items) - 1) / (count - 1))] for i in range(count))


def within_reach(
    candidates: Sequence[Candidate], measured: Mapping[Configuration, OperatingPoint], max_loss_pp: float
) -> tuple[Candidate, ...]:
    """Candidates not measured yet that may become levels: beyond what was measured to lose nothing, and short of what loses too much.

    candidates: by rising divergence. Losses rise with it but for noise, so the last good one counts, and the first bad one after it;
    what lies before the last one without any loss is slower than that one, and no better.
    """
    losses = [(c.divergence, measured[c.configuration].qos_loss_pp) for c in candidates if c.configuration in measured]
    good = max((divergence for divergence, loss in losses if loss <= max_loss_pp), default=0.0)
    limit = min((divergence for divergence, _ in losses if divergence > good), default=float("inf"))
    free = max((divergence for divergence, loss in losses if loss <= 0), default=0.0)
    return tuple(c for c in candidates if c.configuration not in measured and free < c.divergence < limit)


def contenders(losses_pp: Sequence[float], latencies_ms: Sequence[float], max_loss_pp: float) -> list[int]:
    """Indices of what may be on the front: within the loss, and nothing that loses no more is clearly faster."""
    pairs = list(zip(losses_pp, latencies_ms, strict=True))
    good = [(loss, ms) for loss, ms in pairs if loss <= max_loss_pp]
    return [
        i
        for i, (loss, ms) in enumerate(pairs)
        if loss <= max_loss_pp and not any(other_ms * LATENCY_SLACK < ms and other_loss <= loss for other_loss, other_ms in good)
    ]


def choose(points: Iterable[OperatingPoint], exact: OperatingPoint, max_loss_pp: float, levels: int) -> tuple[OperatingPoint, ...]:
    """The levels to ship: exact, then at most `levels` - 1 undominated points within the loss, each clearly faster than the one before.

    The fastest one within the loss is always among them; the others are spread evenly over the logarithm of the latency.
    """
    usable = [p for p in points if p.configuration.settings and p.qos_loss_pp <= max_loss_pp]
    chosen: list[OperatingPoint] = []
    for point in reversed(pareto_front(usable)):
        if _clearly_faster(point, exact) and (not chosen or _clearly_faster(chosen[-1], point)):
            chosen.append(point)
    chosen = [exact, *reversed(chosen)]
    while len(chosen) > max(levels, 1):
        crowded = min(range(1, len(chosen) - 1), key=lambda i: chosen[i - 1].latency_ms / chosen[i + 1].latency_ms, default=1)
        del chosen[crowded]
    return tuple(chosen)


def _clearly_faster(fast: OperatingPoint, slow: OperatingPoint) -> bool:
    """By a step that is worth it, and by more than the intervals of both leave open."""
    return fast.latency_ms * LEAST_STEP <= slow.latency_ms and fast.latency_ms + fast.latency_ci_ms < slow.latency_ms - slow.latency_ci_ms
