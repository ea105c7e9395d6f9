"""What a configuration will cost and lose, told from the profile; and how far such tales are to be trusted.

Latency: what the changed operators save alone, corrected for what happens between them (caches that are warm or cold, stores that
neighbours wait for): a share of the saving, and an amount per changed operator, fitted to configurations that were measured whole.

Loss: the summed divergence of the settings, which ranks configurations well, bent and scaled to the measured losses of a handful.
What is measured of a configuration is no more than a sample, too: `Expectation` says what it will lose on other data.

P1 and P2, the predictors of ApproxTuner (Sharif et al., 2021), are there to be compared with: P2 adds up the losses of the settings, P1
adds up the changes of the outputs and judges the sum.

Whatever is fitted is judged on configurations that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .configuration import Configuration, OpId, Setting
from .measurement import Loss, not_below_zero

if TYPE_CHECKING:
    from .interfaces import Profile

Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]

RIDGE = 1e-3
"""Of the fit of latencies, towards savings that add up, relative to the measured savings: it decides only where there are few points."""

TOO_FAR = 3.0
"""Losses beyond this many times what may be lost tell nothing of those that may be borne, and are not fitted to."""


LEAST_SPREAD = 0.1
"""What a divergence tells of a loss is off by at least this share of it, however well a few measurements agree."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A profile as arrays: of operator o under its setting number s, the latency saved and the divergence.

    operators: O names. settings: of each, its settings, exact first, number 0. saving_ms, divergence: float32[O, S], zero beyond the
    settings of an operator.
    """

    operators: tuple[OpId, ...]
    settings: tuple[tuple[Setting, ...], ...]
    saving_ms: npt.NDArray[np.float32]
    divergence: npt.NDArray[np.float32]
    exact_ms: float

    @classmethod
    def of(cls, profile: Profile) -> Table:
        operators = profile.operators
        shape = len(operators), max((len(o.settings) for o in operators), default=1)
        saving, divergence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for o, operator in enumerate(operators):
            for s, profiled in enumerate(operator.settings):
                saving[o, s] = operator.settings[0].latency_ms - profiled.latency_ms
                divergence[o, s] = profiled.divergence
        names = tuple(o.name for o in operators)
        return cls(names, tuple(tuple(s.setting for s in o.settings) for o in operators), saving, divergence, profile.latency_ms)

    def knows(self, configuration: Configuration) -> bool:
        """Whether all its settings are in the profile."""
        known = dict(zip(self.operators, self.settings, strict=True))
        return all(setting in known.get(op, ()) for op, setting in configuration.settings.items())

    def codes(self, configurations: Iterable[Configuration]) -> Codes:
        """int[M, O]: setting numbers. Raises ValueError for a setting that is not in the profile."""
        numbers = [{setting: number for number, setting in enumerate(own)} for own in self.settings]
        try:
            rows = [[own[c[name]] for name, own in zip(self.operators, numbers, strict=True)] for c in configurations]
        except KeyError as error:
            raise ValueError(f"the profile has no setting {error}") from error
        return np.array(rows, dtype=np.int16).reshape(len(rows), len(self.operators))

    def configuration(self, row: Codes) -> Configuration:
        """The inverse, of one row."""
        return Configuration({name: own[int(s)] for name, own, s in zip(self.operators, self.settings, row, strict=True)})

    def sums(self, codes: Codes) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Saving in milliseconds, divergence, and changed operators, float32[M] each."""
        saving, divergence, changed = (np.zeros(len(codes), np.float32) for _ in range(3))
        for o, column in enumerate(np.ascontiguousarray(codes.T)):
            saving += self.saving_ms[o].take(column)
            divergence += self.divergence[o].take(column)
            changed += column != 0
        return saving, divergence, changed


@dataclass(frozen=True, slots=True)
class Latency:
    """latency = exact - share * saving + each * changed operators, milliseconds."""

    exact_ms: float
    share: float = 1.0
    each_ms: float = 0.0

    @classmethod
    def fitted(cls, exact_ms: float, saving: npt.ArrayLike, changed: npt.ArrayLike, latency_ms: npt.ArrayLike) -> Latency:
        """To configurations that were measured whole beside the exact network, which took `exact_ms`."""
        x = np.stack([np.asarray(saving, np.float64), -np.asarray(changed, np.float64)], axis=1)
        wanted = exact_ms - np.asarray(latency_ms, dtype=np.float64)
        if not len(wanted):
            return cls(exact_ms)
        scale = np.sqrt((x**2).mean(axis=0)) + 1e-12
        z = x / scale
        prior = np.array([scale[0], 0.0])
        ridge = RIDGE * len(z) * np.eye(2)
        share, each = np.linalg.solve(z.T @ z + ridge, z.T @ wanted + ridge @ prior) / scale
        return cls(exact_ms, float(share), float(each))

    def __call__(self, saving: npt.NDArray[Any], changed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(np.float32(self.exact_ms) - np.float32(self.share) * saving + np.float32(self.each_ms) * changed)


@dataclass(frozen=True, slots=True)
class Scale:
    """loss = factor * raw ** power, of a raw prediction that is not negative; a negative one keeps its sign."""

    factor: float = 1.0
    power: float = 1.0

    @classmethod
    def fitted(cls, raw: npt.ArrayLike, losses: npt.ArrayLike, errors: npt.ArrayLike, max_loss: float, powers: Sequence[float]) -> Scale:
        """To measured losses with their standard errors, by least squares; of `powers` the best, one half to twice as steep at most.

        Configurations that lose far too much are left out, but for the mildest three. Outputs that change more lose more: where luck made
        most losses gains, the factor is what it is to be expected, given that it is not negative.
        """
        x, y, error = (np.asarray(values, dtype=np.float64) for values in (raw, losses, errors))
        near = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        near = near[np.argsort(y[near])]
        near = near[: max(3, int(np.sum(y[near] <= TOO_FAR * max_loss)))]
        x, y, error = x[near], y[near], error[near]
        if not len(x) or not x.any():
            return cls()
        weight = 1 / (error**2 + (0.05 * max_loss) ** 2 + (0.15 * y) ** 2)

        def fit(power: float) -> tuple[float, float]:
            bent = _bent(x, power)
            known = float((weight * bent * bent).sum())
            factor = not_below_zero(float((weight * bent * y).sum()) / known, known**-0.5)
            return float((weight * (y - factor * bent) ** 2).sum()) + 4 * np.log(power) ** 2, factor

        power = min(powers, key=lambda p: fit(p)[0])
        return cls(fit(power)[1], power)

    def __call__(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(self.factor * _bent(raw, self.power))


def _bent(raw: npt.NDArray[Any], power: float) -> npt.NDArray[Any]:
    return raw if power == 1 else np.sign(raw) * np.abs(raw) ** power


POWERS = tuple(np.round(np.geomspace(0.5, 2, 21), 3).tolist())

RawLoss = Callable[[Sequence[Configuration]], Doubles]
"""A prediction that is not scaled to losses yet: float64[M]."""


def additive(table: Table) -> RawLoss:
    """The summed divergence."""
    return lambda configurations: table.sums(table.codes(configurations))[1].astype(np.float64)


def p2(profile: Profile) -> RawLoss:
    """The summed losses of the settings alone; NaN where the profile has none."""
    known = {(o.name, s.setting): np.nan if s.loss is None else s.loss for o in profile.operators for s in o.settings}
    return lambda configurations: np.array([sum(known[item] for item in c.settings.items()) for c in configurations], dtype=np.float64)


def p1(
    changes: Mapping[tuple[OpId, Setting], npt.NDArray[Any]], exact: npt.NDArray[Any], loss: Callable[[npt.NDArray[Any]], float]
) -> RawLoss:
    """What the exact outputs [n, K] with all changes [n, K] added lose; NaN where a change is not known."""

    def raw(configurations: Sequence[Configuration]) -> Doubles:
        return np.array([one(c) for c in configurations], dtype=np.float64)

    def one(configuration: Configuration) -> float:
        if not changes.keys() >= configuration.settings.items():
            return np.nan
        added = (changes[item].astype(np.float32) for item in configuration.settings.items())
        return loss(np.asarray(exact + sum(added, np.float32(0)), np.float32))

    return raw


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a configuration is to be expected to lose: its measured loss, drawn towards what its measured divergence tells.

    Few samples change sides under a good configuration, so measured losses are noise for the most part, and the best of many is a lucky
    one; the divergence of the same outputs has little noise. The scale from one to the other is fitted to all that was measured, and each source
    counts by its variance (Fay and Herriot, Estimates of Income for Small Places, 1979). spread: standard error of what the scale tells,
    relative to it: what the losses scatter about it beyond their own errors, and the error of the fit; infinite where nothing could be fitted.
    """

    scale: Scale = Scale()
    spread: float = np.inf

    @classmethod
    def fitted(cls, divergences: Sequence[float], losses: Sequence[Loss], max_loss: float) -> Expectation:
        """To configurations whose divergence and loss were measured on the same inputs."""
        y, errors = (np.array([getattr(loss, name) for loss in losses], dtype=np.float64) for name in ("value", "error"))
        scale = Scale.fitted(divergences, y, errors, max_loss, POWERS)
        told = scale(np.asarray(divergences, dtype=np.float64))
        near = np.isfinite(told) & (y <= TOO_FAR * max_loss)
        weight = near / (errors**2 + (1e-3 * max_loss) ** 2)
        weight, told, y, errors = weight[near], told[near], y[near], errors[near]
        known = float((weight * told**2).sum())
        if not known:
            return cls()
        beyond = float((weight * ((y - told) ** 2 - errors**2)).sum()) / known
        return cls(scale, float(np.sqrt(max(beyond, LEAST_SPREAD**2) + 1 / known)))

    def __call__(self, divergence: float, loss: Loss) -> Loss:
        if not np.isfinite(self.spread):
            return loss
        told = float(self.scale(np.asarray(divergence)))
        found = loss.drawn(told, self.spread * told)
        if not np.isfinite(found.value):
            return found
        value = not_below_zero(found.value, found.error)  # no approximation is expected to gain
        return Loss(value, found.ci, found.upper + value - found.value)


@dataclass(frozen=True, slots=True)
class Trust:
    """How a prediction did on configurations that it was not fitted to.

    predictor: its name. of: "loss" or "latency". error: median absolute error, in `unit`. rank: Spearman's correlation, None where
    nothing varies. fitted, held_out: how many configurations.
    """

    predictor: str
    of: str
    error: float | None
    unit: str
    rank: float | None
    fitted: int
    held_out: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def trust(
    predictor: str, of: str, unit: str, predicted: npt.ArrayLike, measured: npt.ArrayLike, fitted: int, relative: bool = False
) -> Trust:
    """relative: errors are in percent of what was measured."""
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    error = np.abs(x - y) / (y / 100 if relative else 1.0)
    return Trust(predictor, of, float(np.median(error)) if len(x) else None, unit, rank_correlation(x, y), fitted, len(x))


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike) -> float | None:
    """Spearman's, with equal values sharing their rank; None for fewer than three pairs, or where one of them does not vary."""
    ranks = [_ranks(np.asarray(values, dtype=np.float64)) for values in (x, y)]
    if len(ranks[0]) < 3 or not all(r.std() > 0 for r in ranks):
        return None
    return float(np.asarray(np.corrcoef(ranks[0], ranks[1]))[0, 1])


def _ranks(values: Doubles) -> Doubles:
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[number]


def random_codes(table: Table, count: int, rng: np.random.Generator, couplings: Sequence[Sequence[OpId]] = ()) -> Codes:
    """int16[M, O]: settings drawn evenly, each operator left exact with a chance that is itself drawn for every configuration."""
    offered = np.array([len(own) for own in table.settings])
    codes = (rng.random((count, len(offered))) * (offered - 1)).astype(np.int16) + 1
    codes = np.where((rng.random((count, len(offered))) < rng.random((count, 1))) & (offered > 1), codes, 0).astype(np.int16)
    for group in couplings:
        places = [table.operators.index(name) for name in group if name in table.operators]
        if len(places) < 2:
            continue
        shared = [s for s in table.settings[places[0]] if all(s in table.settings[p] for p in places)]
        drawn = rng.integers(0, len(shared), count)
        for place in places:
            own = np.array([table.settings[place].index(s) for s in shared], dtype=np.int16)
            codes[:, place] = own[drawn]
    return codes
