"""Which candidates to measure, and which measured points to ship. Pure: numbers in, a choice out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from .configuration import Configuration
from .interfaces import Candidate
from .measurement import OperatingPoint, pareto_front

T = TypeVar("T")

LEAST_STEP = 1.01
"""A level is at least this much cheaper than the one before; less is not worth a switch."""

LATENCY_SLACK = 1.05
"""Latencies that are predicted or measured in a hurry are taken to be wrong by at most this factor when two are compared."""

NOTHING = 0.02
"""Losses below this share of what may be lost are next to nothing."""

PART_LOSS = 3.0
"""What any class or group alone may lose, if nobody says: so many times what all together may."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What levels must keep, and what they are to save.

    max_loss: bound on the upper end of a level's loss, in `unit`. max_part_loss: on the loss of any class or group alone.
    max_latency_ms, max_energy_mj, max_size_bytes: None where there is no limit. weights: of the costs latency, energy and size, each
    relative to the exact network's. levels: how many to ship at most.
    """

    max_loss: float
    levels: int
    unit: str = "pp"
    max_part_loss: float | None = None
    max_latency_ms: float | None = None
    max_energy_mj: float | None = None
    max_size_bytes: float | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: {"latency": 1.0})

    @property
    def part_loss(self) -> float:
        return PART_LOSS * self.max_loss if self.max_part_loss is None else self.max_part_loss

    def needs(self, cost: str) -> bool:
        """Whether a cost is limited or to be saved."""
        limits = {"latency": self.max_latency_ms, "energy": self.max_energy_mj, "size": self.max_size_bytes}
        return limits[cost] is not None or self.weights.get(cost, 0) > 0

    def cost(self, point: OperatingPoint, exact: OperatingPoint) -> float:
        """Relative to the exact network, which costs 1."""
        pairs = {
            "latency": (point.latency_ms, exact.latency_ms),
            "energy": (point.energy_mj, exact.energy_mj),
            "size": (point.size_bytes, exact.size_bytes),
        }
        total = 0.0
        for name, weight in self.weights.items():
            own, other = pairs[name]
            if weight and own is not None and other:
                total += weight * own / other
        return total / sum(self.weights.values())

    def limits(self) -> dict[str, tuple[float, str]]:
        """Name -> (limit, unit) of all that are set."""
        every = {
            "max_loss": (self.max_loss, self.unit),
            "max_latency_ms": (self.max_latency_ms, "ms"),
            "max_energy_mj": (self.max_energy_mj, "mJ"),
            "max_size_mb": (self.max_size_bytes, "bytes"),
        }
        return {name: (limit, unit) for name, (limit, unit) in every.items() if limit is not None}

    def reached(self, name: str, point: OperatingPoint) -> float | None:
        """What a point has of what a limit is about; None where it was not measured."""
        if name == "max_loss":
            return point.upper if point.configuration.settings else 0.0
        return {"max_latency_ms": point.latency_ms, "max_energy_mj": point.energy_mj, "max_size_mb": point.size_bytes}[name]

    def broken(self, point: OperatingPoint) -> list[str]:
        """The limits that a point does not keep."""
        reached = {name: self.reached(name, point) for name in self.limits()}
        return [name for name, (limit, _) in self.limits().items() if (own := reached[name]) is not None and own > limit]


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` items in their order, evenly spaced, first and last among them."""
    if len(items) <= count:
        return tuple(items)
    if count <= 1:
        return tuple(items[-1:]) * count
    return tuple(items[round(i * (len(items) - 1) / (count - 1))] for i in range(count))


def within_reach(
    candidates: Sequence[Candidate],
    measured: Mapping[Configuration, OperatingPoint],
    max_loss: float,
    tried: Container[Configuration] = (),
) -> tuple[Candidate, ...]:
    """Candidates not tried yet that may become levels: beyond what was measured to lose nothing, and short of what loses too much.

    candidates: by rising divergence. tried: those that were given up before they were measured whole. Losses rise with it but for noise, so the last good one counts, by its upper end, and the first bad one;
    what lies before the last one that loses next to nothing is slower than that one, and hardly better.
    """
    known = [(c.divergence, measured[c.configuration]) for c in candidates if c.configuration in measured]
    good = max((divergence for divergence, point in known if point.upper <= max_loss), default=0.0)
    limit = min((divergence for divergence, _ in known if divergence > good), default=float("inf"))
    free = max((divergence for divergence, point in known if point.qos_loss <= NOTHING * max_loss), default=0.0)
    return tuple(c for c in candidates if c.configuration not in measured and c.configuration not in tried and free < c.divergence < limit)


def contenders(losses: Sequence[float], costs: Sequence[float], max_loss: float) -> list[int]:
    """Indices of what may be on the front: within the loss, and nothing that loses no more is clearly cheaper."""
    pairs = list(zip(losses, costs, strict=True))
    good = [(loss, cost) for loss, cost in pairs if loss <= max_loss]
    return [
        i
        for i, (loss, cost) in enumerate(pairs)
        if loss <= max_loss and not any(other * LATENCY_SLACK < cost and other_loss <= loss for other_loss, other in good)
    ]


def halved(losses: Sequence[tuple[float, float]], costs: Sequence[float], max_loss: float, least: int) -> list[int]:
    """Indices of the better half, at least `least` if there are so many: what goes on to a larger part of the data.

    losses: (value, standard error) so far. Out goes first what almost certainly loses too much (its loss less two standard errors is
    beyond the limit); of the rest those stay that fewest others beat in both loss and cost, so that the whole range of losses is kept.
    """
    alive = [i for i, (loss, error) in enumerate(losses) if loss - 2 * error <= max_loss]
    keep = max(least, (len(losses) + 1) // 2)
    beaten = {i: sum(losses[j][0] <= losses[i][0] and costs[j] < costs[i] for j in alive) for i in alive}
    return sorted(sorted(alive, key=lambda i: (beaten[i], costs[i]))[:keep])


def choose(points: Iterable[OperatingPoint], exact: OperatingPoint, demands: Demands) -> tuple[OperatingPoint, ...]:
    """The levels to ship: exact, then the undominated points that keep every limit, each clearly cheaper than the one before.

    A limit on the loss is kept by the upper end of its interval, since the best of many measurements flatters itself; which point beats
    which is judged by the expected loss. The cheapest one is always
    among them; the others are spread evenly over the logarithm of the cost.
    """
    cost = partial(demands.cost, exact=exact)
    usable = [p for p in points if p.configuration.settings and not p.refused and not demands.broken(p)]
    chosen: list[OperatingPoint] = []
    for point in reversed(pareto_front(usable, cost)):
        if _clearly_cheaper(point, exact, cost) and (not chosen or _clearly_cheaper(chosen[-1], point, cost)):
            chosen.append(point)
    chosen = [exact, *reversed(chosen)]
    while len(chosen) > max(demands.levels, 1):
        crowded = min(range(1, len(chosen) - 1), key=lambda i: cost(chosen[i - 1]) / cost(chosen[i + 1]), default=1)
        del chosen[crowded]
    return tuple(chosen)


def _clearly_cheaper(cheap: OperatingPoint, dear: OperatingPoint, cost: partial[float]) -> bool:
    """By a step that is worth it, and by more than the intervals of both latencies leave open."""
    apart = cost(replace(cheap, latency_ms=cheap.latency_ms + cheap.latency_ci_ms)) < cost(
        replace(dear, latency_ms=dear.latency_ms - dear.latency_ci_ms)
    )
    return cost(cheap) * LEAST_STEP <= cost(dear) and apart


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A limit that could not be kept together with the others. best: the least that was reached of it by what keeps the others.

    alone: nothing keeps all the others, so `best` is that of the point that breaks fewest limits.
    """

    limit: str
    asked: float
    unit: str
    best: float
    alone: bool

    def __str__(self) -> str:
        whose = "what comes nearest to all limits" if self.alone else "the best that keeps the other limits"
        scale, unit = (1e6, "MB") if self.unit == "bytes" else (1.0, self.unit)
        more = (self.best - self.asked) / scale
        return f"{self.limit} {self.asked / scale:g} {unit}: {whose} has {self.best / scale:.4g} {unit}, {more:.3g} {unit} too much"


def shortfalls(points: Sequence[OperatingPoint], demands: Demands) -> tuple[Shortfall, ...]:
    """Why no point keeps every limit, limit by limit; nothing where one does. The exact network is a point as any other, without loss."""
    limits = demands.limits()
    sound = [p for p in points if not p.refused]
    measured = [p for p in sound if all(demands.reached(name, p) is not None for name in limits)]
    sound = measured if any(p.configuration.settings for p in measured) else sound
    broken = [set(demands.broken(p)) for p in sound]
    if any(not own for own in broken):
        return ()

    def missed(name: str, among: Sequence[OperatingPoint], alone: bool) -> Shortfall:
        best = min(own for p in among if (own := demands.reached(name, p)) is not None)
        return Shortfall(name, *limits[name], best, alone)

    single = {name: [p for p, own in zip(sound, broken, strict=True) if own == {name}] for name in limits}
    found = tuple(missed(name, among, False) for name, among in single.items() if among)
    if found or not sound:
        return found
    nearest, own = min(
        zip(sound, broken, strict=True),
        key=lambda pair: (len(pair[1]), sum((demands.reached(n, pair[0]) or 0) / limits[n][0] for n in pair[1])),
    )
    return tuple(missed(name, [nearest], True) for name in limits if name in own)
