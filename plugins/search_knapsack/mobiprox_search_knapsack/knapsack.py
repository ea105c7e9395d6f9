"""The knapsack: merge the operators' fronts one by one, then walk back from the chosen sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from mobiprox_core.configuration import EXACT, Configuration, OpId, Setting
from mobiprox_core.interfaces import Candidate, Profile

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """Operators that take one setting together (mostly one operator), and the settings that are worth a choice.

    saving_ms, divergence: float64[K], both strictly rising; entry 0 saves least.
    """

    operators: tuple[OpId, ...]
    settings: tuple[Setting, ...]
    saving_ms: Floats
    divergence: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """All undominated partial choices after some items.

    saving_ms, divergence: float64[F], both strictly rising. parent: index into the front before; choice: setting of the last item.
    """

    saving_ms: Floats
    divergence: Floats
    parent: Ints
    choice: Ints


def search(profile: Profile, count: int, *, low: float, high: float, cells: int) -> tuple[Candidate, ...]:
    """The fastest configurations within divergence budgets from `low` to `high` nats; at most `count`, exact not among them."""
    items = tuple(item for item in _items(profile) if any(item.settings))
    fronts = solve(items, cells)
    last = fronts[-1]
    points = spread(last.divergence, count, low, high)
    offered = [[(operators, setting) for setting in item.settings] for item in items for operators in (item.operators,)]
    found = []
    for point, chosen in zip(points, choices(fronts, points), strict=True):
        taken = (own[number] for own, number in zip(offered, chosen, strict=True))
        settings = {name: setting for operators, setting in taken if setting for name in operators}
        if settings:
            saving, divergence = float(last.saving_ms[point]), float(last.divergence[point])
            found.append(Candidate(Configuration(settings), profile.latency_ms - saving, divergence))
    return tuple(found)


def choices(fronts: tuple[Front, ...], points: Ints) -> list[list[int]]:
    """For each of some points of the last front, the setting of every item."""
    index, back = points, []
    for front in reversed(fronts[1:]):
        back.append(front.choice[index])
        index = front.parent[index]
    return np.array(back[::-1], dtype=np.intp).reshape(len(fronts) - 1, len(points)).T.tolist()


def solve(items: tuple[Item, ...], cells: int) -> tuple[Front, ...]:
    """The front after each item; the first one, of nothing chosen, is the origin. No front has more than about `cells` points."""
    origin = Front(np.zeros(1), np.zeros(1), np.zeros(1, np.intp), np.zeros(1, np.intp))
    fronts = [origin]
    for item in items:
        fronts.append(_merge(fronts[-1], item, cells))
    return tuple(fronts)


def _merge(front: Front, item: Item, cells: int) -> Front:
    saving = np.add.outer(item.saving_ms, front.saving_ms).ravel()
    divergence = np.add.outer(item.divergence, front.divergence).ravel()
    kept = _undominated(saving, divergence, cells)
    choice, parent = np.divmod(kept, front.saving_ms.size)
    return Front(saving[kept], divergence[kept], parent, choice)


def _undominated(saving: Floats, divergence: Floats, cells: int | None = None) -> Ints:
    """Indices of the points that no other equals or dominates (more saved, less divergence), by rising saving.

    Beyond `cells` points, only the one of least divergence in each of `cells` equal steps of saving stays, and the fastest of all.
    """
    order = np.argsort(-saving, kind="stable")  # most saved first: a point stays if its divergence is below all before it
    falling = divergence[order]
    best_before = np.concatenate(([np.inf], np.minimum.accumulate(falling)[:-1]))
    kept = order[falling < best_before][::-1]
    if kept.size > 1:  # of equal savings the one of least divergence stands first
        kept = kept[np.concatenate(([True], np.diff(saving[kept]) > 0))]
    if cells is not None and kept.size > cells:
        cell = np.floor(saving[kept] / saving[kept[-1]] * (cells - 1)).astype(np.intp)
        first = np.concatenate(([True], np.diff(cell) > 0))
        first[-1] = True
        kept = kept[first]
    return kept


def spread(divergence: Floats, count: int, low: float, high: float) -> Ints:
    """Indices of at most `count` points: the last one within each of evenly spaced (in the logarithm) divergence budgets.

    divergence: rising. Budgets grow denser until the count is nearly used up.
    """
    usable = int(np.searchsorted(divergence, high, side="right"))
    if usable <= count or count < 1:
        return np.arange(usable)[: max(count, 0)]
    top = float(divergence[usable - 1])
    chosen = np.array([usable - 1])
    for budgets in (count << doubling for doubling in range(8)):
        limits = np.geomspace(min(low, top), top, budgets)
        limits[-1] = top  # geomspace rounds
        points = np.unique(np.searchsorted(divergence, limits, side="right") - 1)
        points = points[points >= 0]
        if points.size > count:
            break
        chosen = points
    return chosen


def _items(profile: Profile) -> Iterator[Item]:
    """One item per group of coupled operators, in the profile's order; of its settings those that no other dominates."""
    settings = {operator.name: operator.settings for operator in profile.operators}
    for operators in _groups(tuple(settings), profile.couplings):
        offered = [{s.setting: s for s in settings.get(name, ())} for name in operators] if len(operators) > 1 else []
        if not offered:
            exact, *others = settings[operators[0]]
            saving_ms = np.array([0.0, *(exact.latency_ms - s.latency_ms for s in others)])
            divergence = np.array([0.0, *(max(s.divergence, 0.0) for s in others)])
            yield _item(operators, (EXACT, *(s.setting for s in others)), saving_ms, divergence)
            continue
        shared = [s for s in offered[0] if s != EXACT and all(s in other for other in offered)]
        points = [(0.0, 0.0)]
        for setting in shared:
            saving = sum(row[EXACT].latency_ms - row[setting].latency_ms for row in offered)
            points.append((saving, sum(max(row[setting].divergence, 0.0) for row in offered)))
        saving_ms, divergence = np.array(points, dtype=np.float64).T
        yield _item(operators, (EXACT, *shared), saving_ms, divergence)


def _item(operators: tuple[OpId, ...], settings: tuple[Setting, ...], saving_ms: Floats, divergence: Floats) -> Item:
    finite = np.flatnonzero(np.isfinite(saving_ms) & np.isfinite(divergence))
    kept = finite[_undominated(saving_ms[finite], divergence[finite])]
    return Item(operators, tuple(settings[k] for k in kept), saving_ms[kept], divergence[kept])


def _groups(operators: tuple[OpId, ...], couplings: tuple[tuple[OpId, ...], ...]) -> list[tuple[OpId, ...]]:
    """The operators, coupled ones joined; couplings that share an operator make one group."""

    def join(groups: list[set[OpId]], coupled: tuple[OpId, ...]) -> list[set[OpId]]:
        touched = [g for g in groups if g & set(coupled)]
        return [g for g in groups if g not in touched] + [set(coupled).union(*touched)]

    groups = reduce(join, couplings, [{name} for name in operators])
    return sorted(
        (tuple(sorted(g)) for g in groups if g & set(operators)), key=lambda g: min(operators.index(n) for n in g if n in operators)
    )
