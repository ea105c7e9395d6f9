"""Rounds of timed blocks, and what follows from them.

A round is one block of every contender, so a ratio within a round compares neighbours in time: what slows the machine for seconds
or minutes falls out. The result is the median over rounds, with a bootstrap interval.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

FEWEST_ROUNDS = 3
RESAMPLES = 1000
WIDEST_INTERVAL = 0.1
"""A ratio whose interval is wider than this share of it is called uncertain."""


@dataclass(frozen=True, slots=True)
class Block:
    """One contender, timed for a while. median_ms, p10_ms, p90_ms: of one call. cores: used on average; lacking: see `noise.Load`."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    calls: int
    cores: float
    lacking: float | None
    disturbed: bool


Round = Mapping[str, Block]


@dataclass(frozen=True, slots=True)
class Latency:
    """One call, as medians over a contender's blocks, of the quiet ones if there are enough."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    cores: float
    calls: int
    quiet: bool


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast `ours` is as `theirs`: above 1, ours is faster.

    median: over rounds. low, high: 95 % bootstrap interval of the median. p10, p90: of the rounds themselves.
    quiet: False where too few rounds were undisturbed, and so all were taken.
    """

    ours: str
    theirs: str
    median: float
    low: float
    high: float
    p10: float
    p90: float
    rounds: int
    quiet: bool

    @property
    def certain(self) -> bool:
        """Whether the interval is narrow enough to say something."""
        return self.quiet and self.high - self.low <= WIDEST_INTERVAL * self.median


def order(contenders: Sequence[str], rng: random.Random) -> list[str]:
    """The contenders in the order of one round."""
    return rng.sample(list(contenders), len(contenders))


def quiet_rounds(rounds: Sequence[Round]) -> int:
    """How many rounds nothing disturbed."""
    return sum(not any(block.disturbed for block in blocks.values()) for blocks in rounds)


def latency(rounds: Sequence[Round], contender: str) -> Latency:
    """What one call of a contender costs. Raises KeyError for a contender that did not take part."""
    blocks, quiet = _quiet(rounds, contender)
    mine = [blocks_of[contender] for blocks_of in blocks]
    return Latency(
        median(b.median_ms for b in mine),
        median(b.p10_ms for b in mine),
        median(b.p90_ms for b in mine),
        median(b.cores for b in mine),
        sum(b.calls for b in mine),
        quiet,
    )


def ratio(rounds: Sequence[Round], ours: str, theirs: str, seed: int = 0) -> Ratio:
    """Theirs over ours, round by round."""
    blocks, quiet = _quiet(rounds, ours, theirs)
    values = [blocks_of[theirs].median_ms / blocks_of[ours].median_ms for blocks_of in blocks]
    rng = random.Random(seed)
    medians = [median(rng.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    return Ratio(
        ours,
        theirs,
        median(values),
        quantile(medians, 0.025),
        quantile(medians, 0.975),
        quantile(values, 0.1),
        quantile(values, 0.9),
        len(values),
        quiet,
    )


def _quiet(rounds: Sequence[Round], *contenders: str) -> tuple[Sequence[Round], bool]:
    """The rounds in which these contenders were undisturbed; all rounds, and False, where those are too few."""
    quiet = [blocks for blocks in rounds if not any(blocks[name].disturbed for name in contenders)]
    enough = max(FEWEST_ROUNDS, (len(rounds) + 2) // 3)
    return (quiet, True) if len(quiet) >= enough else (rounds, False)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, interpolated between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
