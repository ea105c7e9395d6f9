"""Recalibration of whole configurations: every operator's output is brought back to what the exact network has there.

The calibration inputs go through the configuration operator by operator, all inputs through one before any goes through the next. An
operator reads what the approximated and already corrected ones before it gave, and is corrected towards what it gives in the exact
network: before a residual is added, the exact sum less the residual as it is now. No labels, no gradients; a fit of least squares at some
output positions of every input.

grade affine: a scale and a bias per output channel; with y what the operator gives, t what it should give, both without their means,

    error(s) = |t - s y|^2 + SHRINKAGE |y|^2 (s - 1)^2.

grade full: weights and bias; with X the patches of the kept filter elements and W0 the weights so far,

    error(W) = |T - X W|^2 + ridge |W - W0|^2,    ridge = strength * mean over elements of |x|^2,

then the affine correction of what fills make of it. Every fourth chunk of inputs says how strong the ridge must be: what is fitted to the
others with that strength leaves the least error there. Where an operator has few positions or many elements weights hardly move then,
where it has many positions they are free.

Then both again, through the activation f. A sum need not be right where f makes the same of it, as of two negative ones under ReLU. So what
counts is the matching loss of f (Auer, Herbster and Warmuth, 1996), with r the residual that is added:

    D(t, y) = integral of f(s + r) - f(t + r) over s from t to y.

It is convex in y for every f that never falls; its slope is f(y + r) - f(t + r), its curvature at most the greatest slope of f. So a parabola
bounds it from above, and to fit y anew to

    y + (f(t + r) - f(y + r)) / greatest slope

by the same normal equations makes it less, round by round (Boehning and Lindsay, 1988). Two numbers per channel alone are not fitted so:
where half of a noisy map is filled in, they then flatten what differs from input to input. Where a setting stores weights in few bits, they
are rounded to those before their bias is fitted. Weights are rounded to half precision, which is how a bundle stores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from . import forward, reference
from .batches import filled
from .configuration import EXACT_CONFIGURATION, Configuration, OpId
from .correction import Correction, Corrections, Grade
from .forward import Work
from .graph import Activation, Operator
from .interfaces import Progress, ProgressSink, Technique
from .lowering import lower
from .selection import evenly

if TYPE_CHECKING:
    from .interfaces import Floats
    from .statistics import Calibration

    Doubles = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

VERSION = 3
"""Of what is computed here; part of the key under which corrections are kept."""

MOST_INPUTS: Mapping[Grade, int] = {"affine": 192, "full": 1_024}
"""Calibration inputs that are looked at, evenly spread over those given: two numbers per channel need fewer than weights."""

MOST_ROWS: Mapping[Grade, int] = {"affine": 24_000, "full": 48_000}
"""Output positions that are looked at per operator."""

MOST_TENSOR_BYTES = 512 << 20
"""Of one activation of all inputs; where that is too little, fewer inputs are looked at."""

MOST_BYTES = 512 << 20
"""Of wanted outputs at these positions, all operators together; where that is too little, fewer positions are looked at."""

_FLUSH_ROWS = 8_192  # patches whose products are summed up in float32 before they are added in float64

SHRINKAGE = 1e-3

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Of the ridge, tried in this order for as long as the error on inputs that are held out falls."""

UNTRIED = 1e-2
"""Strength where there are too few inputs to hold some out."""

HELD_OUT = 4
"""One chunk in so many is held out."""

ROUNDS = 2
"""Of fits of weights through the activation."""

AFFINE_ROUNDS = 5
"""The same of the scales and biases that follow, which take no time."""

WIDEST = 2_304
"""Filter elements up to which weights are fitted; larger filters are corrected as in grade affine."""


class Recalibrator:
    """Corrections of configurations of one network; what is known of one is kept on disk, by content."""

    def __init__(
        self,
        calibration: Calibration,
        techniques: Mapping[str, Technique],
        grade: Grade,
        progress: ProgressSink = lambda progress: None,
    ) -> None:
        self.calibration = calibration
        self.techniques = techniques
        self.grade = grade
        self.graph = calibration.graph
        self._progress = progress
        batch, inputs = self.graph.batch, calibration.inputs
        widest = max(int(np.prod(self.graph.shape(op.output))) for op in self.graph.operators) * 4 // batch
        chosen = inputs[list(evenly(range(len(inputs)), max(1, min(MOST_INPUTS[grade], MOST_TENSOR_BYTES // widest))))]
        self._count = len(chosen)
        self._inputs = [filled(chosen[start : start + batch], batch) for start in range(0, len(chosen), batch)]
        self._fitted = [op for op in self.graph.operators if op.kind in ("conv", "dense")]
        self._targets: dict[OpId, Floats] | None = None
        self._rows: dict[OpId, list[Ints]] = {}

    def __call__(self, configuration: Configuration) -> Corrections:
        """Of the operators whose outputs are not exact; none for the exact configuration.

        Raises InfeasibleSetting where a setting means nothing for its operator.
        """
        if not configuration.settings:
            return {}
        works = {op.name: self._work(op, configuration) for op in self._fitted}
        correctable = self._correctable(configuration)
        key = [
            f"recalibrated {VERSION}",
            self.grade,
            self._count,
            MOST_ROWS[self.grade],
            SHRINKAGE,
            STRENGTHS,
            UNTRIED,
            HELD_OUT,
            [ROUNDS, AFFINE_ROUNDS],
            WIDEST,
            sorted(correctable),
        ]
        key += [f"{name}: {configuration[name]}: {_digest(work)}" for name, work in works.items()]
        key += ["representable"] * any(part.representable is not None for work in works.values() for part in work.parts)
        names = [op.name for op in self.graph.operators]
        return _read(self.calibration.once("", repr(key), lambda: _stored(self._walk(configuration, works, correctable), names)), names)

    def _work(self, operator: Operator, configuration: Configuration) -> Work:
        statistics = self.calibration(operator.name) if configuration[operator.name] else None
        device = self.calibration.device.info
        return forward.prepared(operator, self.graph, configuration[operator.name], self.techniques, device, statistics)

    def _correctable(self, configuration: Configuration) -> frozenset[OpId]:
        """Convolutions and dense layers, but for those that a technique replaces whole: they have no tables to edit."""
        device = self.calibration.device.info
        plan = lower(self.graph, device, self.techniques, {}, [configuration], statistics=self.calibration)
        chosen = zip(plan.operators, plan.levels[-1], strict=True)
        return frozenset(op.name for op, variant in chosen if op.variants[variant].geometry)

    # -- the walk

    def _walk(self, configuration: Configuration, works: Mapping[OpId, Work], correctable: frozenset[OpId]) -> dict[OpId, Correction]:
        """Corrections, operator by operator in the graph's order."""
        targets = self._exact()
        found: dict[OpId, Correction] = {}
        inexact: set[str] = set()
        walk = _Walk(self)
        for operator in walk:
            changed = bool(configuration[operator.name]) or not inexact.isdisjoint(operator.reads)
            if changed:
                inexact.add(operator.output)
            if operator.kind not in ("conv", "dense"):
                walk.pass_through(configuration)
            elif not changed or operator.name not in correctable:
                walk.give(works[operator.name], walk.sums(works[operator.name]))
            else:
                found[operator.name] = walk.corrected(works[operator.name], targets[operator.name], self.grade)
        return found

    def _exact(self) -> Mapping[OpId, Floats]:
        """What every operator should give before its activation, residual added, at the positions that are looked at: float32[R, O]."""
        if self._targets is None:
            self._targets = {}
            walk = _Walk(self)
            for operator in walk:
                if operator.kind in ("conv", "dense"):
                    work = self._work(operator, EXACT_CONFIGURATION)
                    sums = walk.sums(work)
                    self._targets[operator.name] = walk.at_rows(sums) + walk.residual_at_rows()
                    walk.give(work, sums)
                else:
                    walk.pass_through(EXACT_CONFIGURATION)
        return self._targets

    def rows(self, operator: Operator) -> list[Ints]:
        """Output positions of every chunk that are looked at, flattened (n, h, w); only those of calibration inputs."""
        if operator.name not in self._rows:
            self._rows[operator.name] = self._drawn(operator)
        return self._rows[operator.name]

    def _drawn(self, operator: Operator) -> list[Ints]:
        batch = self.graph.batch
        size = self.positions(operator) // batch
        outputs = sum(len(op.constants["weight"]) for op in self._fitted)
        drawn = min(size, max(1, min(MOST_ROWS[self.grade], MOST_BYTES // (4 * outputs)) // self._count))
        seed = self.calibration.seed, crc32(operator.name.encode())
        at = [
            i % batch * size + np.sort(np.random.default_rng([*seed, i]).choice(size, drawn, replace=False, shuffle=False))
            for i in range(self._count)
        ]
        return [np.concatenate(at[start : start + batch]) for start in range(0, self._count, batch)]

    def positions(self, operator: Operator) -> int:
        """Output positions of one chunk."""
        shape = self.graph.shape(operator.output)
        return int(np.prod((shape[0], *shape[2:]) if operator.kind == "conv" else shape[:-1]))


class _Walk:
    """The calibration inputs on their way through the graph; activations that nothing reads any more are let go."""

    def __init__(self, of: Recalibrator) -> None:
        self._of = of
        self._graph = of.graph
        self._tensors: dict[str, list[Floats]] = {of.graph.inputs[0].name: of._inputs}
        self._operator = of.graph.operators[0]
        self._rows: list[Ints] = []

    def __iter__(self) -> Iterator[Operator]:
        last = {name: place for place, op in enumerate(self._graph.operators) for name in op.reads}
        for place, operator in enumerate(self._graph.operators):
            self._of._progress(Progress("calibrate", place, len(self._graph.operators), "correction of a configuration"))
            self._operator = operator
            self._rows = self._of.rows(operator) if operator.kind in ("conv", "dense") else []
            yield operator
            for name in [name for name in self._tensors if last.get(name, -1) <= place]:
                del self._tensors[name]

    def pass_through(self, configuration: Configuration) -> None:
        """An operator without weights."""
        op, setting = self._operator, configuration[self._operator.name]
        chunks = range(len(self._of._inputs))
        self._tensors[op.output] = [
            reference.run_operator(self._graph, op, {name: self._tensors[name][i] for name in op.reads}, setting, self._of.techniques)
            for i in chunks
        ]

    def sums(self, work: Work, weight: Floats | None = None, bias: Floats | None = None) -> list[Floats]:
        """What the operator gives before residual and activation."""
        shape = self._graph.shape(self._operator.output)
        weight, bias = work.weight if weight is None else weight, work.bias if bias is None else bias
        return [forward.result(work, x, weight, bias, shape) for x in self._tensors[self._operator.inputs[0]]]

    def give(self, work: Work, sums: list[Floats]) -> None:
        """Finish the operator's output."""
        residual = self._operator.residual
        added = [None] * len(sums) if residual is None else self._tensors[residual]
        self._tensors[self._operator.output] = [forward.finished(work, y, r) for y, r in zip(sums, added, strict=True)]

    def at_rows(self, chunks: list[Floats]) -> Floats:
        """float32[R, O] of the operator's output, or what has its shape."""
        found = []
        for chunk, at in zip(chunks, self._rows, strict=True):
            if self._operator.kind == "conv":
                flat = chunk.reshape(*chunk.shape[:2], -1)
                n, p = np.divmod(at, flat.shape[2])
                found.append(flat[n, :, p])
            else:
                found.append(chunk.reshape(-1, chunk.shape[-1])[at])
        return np.concatenate(found)

    def residual_at_rows(self) -> Floats | float:
        residual = self._operator.residual
        return 0.0 if residual is None else self.at_rows(self._tensors[residual])

    def corrected(self, work: Work, target: Floats, grade: Grade) -> Correction:
        """The operator's correction; its output is finished with it."""
        goal = _Goal(target, self.residual_at_rows(), self._operator.activation)
        weight, bias = work.weight, work.bias
        is_full = grade == "full" and work.weight.shape[1] <= WIDEST and work.tables.scale is None
        if is_full:
            weight, bias = self._weights(work, goal)
        sums = self.sums(work, weight, bias)
        scale, shift = _affine(self.at_rows(sums), goal, AFFINE_ROUNDS if is_full else 0)
        if work.tables.fills:  # they need not make of scaled sums what they make of the sums, scaled
            self.give(work, self.sums(work, scale[:, None] * weight, scale * bias + shift))
        else:
            along = (-1, *(1,) * (sums[0].ndim - 2)) if self._operator.kind == "conv" else (-1,)
            self.give(work, [y * scale.reshape(along) + shift.reshape(along) for y in sums])
        if is_full:
            return Correction(scale * bias + shift, weight=_halved(scale[:, None] * weight), taps=work.tables.taps)
        return Correction(shift, scale)

    def _weights(self, work: Work, goal: _Goal) -> tuple[Floats, Floats]:
        """Weights [O, T] and bias [O] that come nearest to a goal at the positions that are computed."""
        sums = _Sums(work)
        for x, rows, part in self._seen(work):
            sums.add(x, goal.sums(rows), part)
        fit = sums.fit()
        if fit is None:
            return work.weight, work.bias
        for _ in range(ROUNDS if goal.bends else 0):
            for x, rows, _ in self._seen(work):
                fit.add(x, goal.lacks(fit(x), rows))
            fit.step()
        return fit.stored()

    def _seen(self, work: Work) -> Iterator[tuple[Floats, Ints, int]]:
        """Patches [G, R, T] at positions that are computed, which of the rows that are looked at they belong to, and 1 of inputs held out."""
        start = 0
        for number, (x, at) in enumerate(zip(self._tensors[self._operator.inputs[0]], self._rows, strict=True)):
            kept = np.flatnonzero(self._computed(work, at))
            if len(kept):
                yield forward.patches(work, x, at[kept], self._graph), start + kept, int(number % HELD_OUT == HELD_OUT - 1)
            start += len(at)

    def _computed(self, work: Work, at: Ints) -> npt.NDArray[np.bool_]:
        """Which positions are computed, not filled."""
        if self._operator.kind == "dense":
            return np.ones(len(at), bool)
        shape = self._graph.shape(self._operator.output)
        height, width = (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])
        return np.isin(at // width % height, work.tables.rows) & np.isin(at % width, work.tables.columns)


class _Goal:
    """What an operator should give: float32[R, O], before its activation, what it gives in the exact network; the residual is added still."""

    def __init__(self, exact: Floats, residual: Floats | float, activation: Activation | None) -> None:
        self._exact, self._activation = exact, activation
        self._residual = np.broadcast_to(np.float32(residual), exact.shape)
        self._steepest = 0.0 if activation is None else steepest(activation)

    @property
    def bends(self) -> bool:
        """Whether sums may be wrong where the activation makes the same of them."""
        return self._steepest > 0

    def sums(self, rows: Ints | slice = slice(None)) -> Floats:
        return self._exact[rows] - self._residual[rows]

    def lacks(self, y: Floats, rows: Ints | slice = slice(None)) -> Floats:
        """What is to be added to sums y to make the matching loss less."""
        assert self._activation is not None
        exact, given = (reference.activate(x, self._activation) for x in (self._exact[rows], y + self._residual[rows]))
        return np.asarray((exact - given) / self._steepest, np.float32)


def steepest(activation: Activation) -> float:
    """The greatest slope of a function that never falls; 0 of one that does."""
    slope = {"leaky_relu": max(1.0, activation.alpha), "sigmoid": 0.25, "hard_sigmoid": activation.alpha}.get(activation.kind, 1.0)
    return 0.0 if activation.kind == "hard_swish" or activation.alpha < 0 else slope


@dataclass(frozen=True, slots=True)
class _Normal:
    """The normal equations of one operator's weights, per group: means of patches [G, T] and targets [G, O], products without means.

    squares: of what an element sees, its mean included, [G]: the unit of the ridge.
    """

    rows: float
    mean: Doubles
    target: Doubles
    scatter: Doubles
    cross: Doubles
    squares: Doubles

    def fitted(self, before: Doubles, strength: float) -> Doubles:
        """Weights [G, T, O] of least error, towards those before."""
        return before + self.solved(self.cross - self.scatter @ before, strength)

    def solved(self, gradient: Doubles, strength: float) -> Doubles:
        damped = self.scatter + self.ridge(strength)[:, :, None] * np.eye(self.scatter.shape[1])
        return np.asarray(np.linalg.solve(damped, gradient))

    def ridge(self, strength: float) -> Doubles:
        """[G, 1]; a group that only ever read zeros keeps its weights."""
        return np.where(self.squares > 0, strength * self.squares, 1.0)[:, None]

    def error(self, weight: Doubles) -> float:
        """Of weights with the best bias, but for a constant."""
        return float(((self.scatter @ weight - 2 * self.cross) * weight).sum())


class _Fit:
    """Weights [G, T, O] and bias [G, O] of least error, and steps from there."""

    def __init__(self, work: Work, normal: _Normal, before: Doubles, strength: float) -> None:
        self._work, self._normal, self._before, self._strength = work, normal, before, strength
        self._weight = normal.fitted(before, strength)
        self._bias = normal.target - np.einsum("gt,gto->go", normal.mean, self._weight)
        self._begin()

    def _begin(self) -> None:
        self._cross, self._target = np.zeros_like(self._weight), np.zeros_like(self._bias)

    def __call__(self, x: Floats) -> Floats:
        """Sums [R, O] of patches [G, R, T]."""
        sums = x @ self._weight.astype(np.float32) + self._bias[:, None].astype(np.float32)
        return np.asarray(sums.transpose(1, 0, 2).reshape(x.shape[1], -1))

    def add(self, x: Floats, lacking: Floats) -> None:
        """What the sums [R, O] of patches [G, R, T] lack."""
        own = lacking.reshape(len(lacking), len(x), -1).transpose(1, 0, 2)
        self._cross += (x - self._normal.mean[:, None].astype(np.float32)).transpose(0, 2, 1) @ own
        self._target += own.sum(1, dtype=np.float64)

    def step(self) -> None:
        """Fit the sums with what they lacked, when all patches have been added."""
        normal = self._normal
        pull = normal.ridge(self._strength)[:, :, None] * (self._weight - self._before)
        change = normal.solved(self._cross - pull, self._strength)
        self._weight = self._weight + change
        self._bias = self._bias + self._target / normal.rows - np.einsum("gt,gto->go", normal.mean, change)
        self._begin()

    def stored(self) -> tuple[Floats, Floats]:
        """Weights float32[O, T], as they can be kept, and the bias float32[O] for those."""
        groups, elements, _ = self._weight.shape
        stored = np.asarray(self._weight.transpose(0, 2, 1).reshape(self._work.weight.shape), np.float32)
        for part in self._work.parts:
            stored = stored if part.representable is None else part.representable(stored, self._normal.scatter)
        lost = self._weight - stored.reshape(groups, -1, elements).transpose(0, 2, 1)
        return _halved(stored), (self._bias + np.einsum("gt,gto->go", self._normal.mean, lost)).ravel().astype(np.float32)


class _Sums:
    """The normal equations under way, of the inputs that are fitted to and of those held out. Patches are shifted, so that float32
    products lose little.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        elements, outputs = work.weight.shape[1], len(work.weight) // work.group
        self._rows = np.zeros(2)
        self._shift: Floats | None = None
        self._mean, self._target = np.zeros((2, work.group, elements)), np.zeros((2, work.group, outputs))
        self._scatter, self._cross = np.zeros((2, work.group, elements, elements)), np.zeros((2, work.group, elements, outputs))
        self._waiting: tuple[list[tuple[Floats, Floats]], ...] = ([], [])

    def add(self, x: Floats, y: Floats, part: int = 0) -> None:
        """x: [G, R, T], y: [R, O]. part: 1 of inputs held out."""
        waiting = self._waiting[part]
        waiting.append((x, y.reshape(len(y), self._work.group, -1).transpose(1, 0, 2)))
        if sum(x.shape[1] for x, _ in waiting) >= _FLUSH_ROWS:
            self._flush(part)

    def _flush(self, part: int) -> None:
        if not self._waiting[part]:
            return
        x, y = (np.concatenate(values, axis=1) for values in zip(*self._waiting[part], strict=True))
        self._waiting[part].clear()
        if self._shift is None:
            self._shift = x.mean(1, keepdims=True)
        x -= self._shift
        self._rows[part] += x.shape[1]
        self._mean[part] += np.ones(x.shape[1], np.float32) @ x
        self._target[part] += y.sum(1, dtype=np.float64)
        self._scatter[part] += x.transpose(0, 2, 1) @ x
        self._cross[part] += x.transpose(0, 2, 1) @ y

    def _normal(self, *parts: int) -> _Normal:
        chosen = list(parts)
        rows = self._rows[chosen].sum()
        mean, target = self._mean[chosen].sum(0) / rows, self._target[chosen].sum(0) / rows
        scatter = self._scatter[chosen].sum(0) - rows * mean[:, :, None] * mean[:, None, :]
        cross = self._cross[chosen].sum(0) - rows * mean[:, :, None] * target[:, None, :]
        assert self._shift is not None
        mean = mean + self._shift[:, 0]
        squares = (np.trace(scatter, axis1=1, axis2=2) + rows * (mean**2).sum(1)) / mean.shape[1]
        return _Normal(float(rows), mean, target, scatter, cross, squares)

    def fit(self) -> _Fit | None:
        """None of a very small output, where perhaps no position is computed that was drawn."""
        self._flush(0)
        self._flush(1)
        if not self._rows.any():
            return None
        weight, (groups, elements) = self._work.weight, self._mean.shape[1:]
        before = weight.reshape(groups, -1, elements).transpose(0, 2, 1).astype(np.float64)
        return _Fit(self._work, self._normal(0, 1), before, self._strength(before))

    def _strength(self, before: Doubles) -> float:
        """Of the ridge: the one with which inputs that are held out are met best."""
        if not self._rows.all():
            return UNTRIED
        fitted_to, held = self._normal(0), self._normal(1)
        chosen, least = STRENGTHS[0], np.inf
        for strength in STRENGTHS:
            if (error := held.error(fitted_to.fitted(before, strength))) >= least:
                break
            chosen, least = strength, error
        return chosen


def _affine(given: Floats, goal: _Goal, rounds: int) -> tuple[Floats, Floats]:
    """Scale and bias, float32[O], that bring what is given, [R, O], to the goal."""
    scale, bias = _line(given, goal.sums())
    for _ in range(rounds if goal.bends else 0):
        y = scale * given + bias
        scale, bias = _line(given, y + goal.lacks(y))
    return scale, bias


def _line(given: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Scale and bias, float32[O], that bring what is given, [R, O], to what is wanted. A channel that never changes keeps its scale."""
    means = given.mean(0, dtype=np.float64), wanted.mean(0, dtype=np.float64)
    y, t = given - means[0].astype(np.float32), wanted - means[1].astype(np.float32)
    own, both = (np.einsum("ro,ro->o", y, other, dtype=np.float64) for other in (y, t))
    ridge = np.where(own > 0, SHRINKAGE * own, 1.0)
    scale = (both + ridge) / (own + ridge)
    return scale.astype(np.float32), (means[1] - scale * means[0]).astype(np.float32)


def _halved(weight: npt.NDArray[np.floating]) -> Floats:
    """The nearest weights that half precision has; as they are where one is too large for it."""
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16).astype(np.float32)
    return half if np.isfinite(half).all() else weight.astype(np.float32)


# ------------------------------------------------------------------------------------------------------------------------ storage


def _digest(work: Work) -> str:
    digest = sha256()
    for values in (work.weight, work.bias, work.tables.rows, work.tables.columns, work.tables.taps):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _stored(corrections: Mapping[OpId, Correction], names: Sequence[OpId]) -> dict[str, npt.NDArray[Any]]:
    """As arrays by field and place of the operator; weights take half the space where that loses nothing."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, correction in corrections.items():
        for field in ("bias", "scale", "weight", "taps"):
            if (values := getattr(correction, field)) is not None:
                half = field == "weight" and np.array_equal(_halved(values), values)
                arrays[f"{field}{names.index(name)}"] = values.astype(np.float16) if half else values
    return arrays


def _read(arrays: Mapping[str, npt.NDArray[Any]], names: Sequence[OpId]) -> dict[OpId, Correction]:
    """The inverse of `_stored`."""
    found = {}
    for place, name in enumerate(names):
        bias, scale, weight, taps = (arrays.get(f"{field}{place}") for field in ("bias", "scale", "weight", "taps"))
        if bias is not None:
            found[name] = Correction(bias, scale, None if weight is None else weight.astype(np.float32), taps)
    return found
