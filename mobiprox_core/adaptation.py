"""Calibrated confidences, what strategies know of the levels, and the replay of a recorded trace.

Everything works on outputs that were computed before: float32[N, K] class scores per level, so no device takes part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import BundleError, DataError, PluginError
from .interfaces import ClassConfidence, LevelCalibration, Observation, Strategy

if TYPE_CHECKING:
    from .interfaces import Floats

Labels = npt.NDArray[np.integer[Any]]

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a fitted temperature; outside them confidences are all 1, or all alike."""


# --------------------------------------------------------------------------------------------------------------------- confidence


def probabilities(outputs: Floats, already_softmax: bool = False, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """float64[N, K]: softmax(outputs / temperature); rows sum to 1.

    outputs: [N, K] logits, or probabilities where the network ends in a softmax (`already_softmax`): their logarithms are logits.
    """
    scores = _logits(outputs, already_softmax) / temperature
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def fit_temperature(logits: npt.NDArray[np.floating[Any]], labels: Labels) -> float:
    """The temperature that minimises the negative log-likelihood of labels[N] under softmax(logits[N, K] / T).

    Guo et al., "On Calibration of Modern Neural Networks", 2017. The likelihood is convex in 1/T: Newton's steps within a bracket
    find its one minimum. Where every label is the largest logit there are no mistakes to learn from, and the answer is 1.
    """
    scores = np.asarray(logits, dtype=np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    wanted = scores[np.arange(len(scores)), labels]
    if not wanted.any():
        return 1.0

    def slope_and_curvature(beta: float) -> tuple[float, float]:
        weights = np.exp(beta * scores)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * scores).sum(axis=1)
        variance = (weights * scores**2).sum(axis=1) - mean**2
        return float((mean - wanted).mean()), float(variance.mean())

    low, high, beta = 1 / HOTTEST, 1 / COLDEST, 1.0
    while high - low > 1e-9 * high:
        slope, curvature = slope_and_curvature(beta)
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = slope / curvature if curvature > 0 else math.inf
        if abs(step) <= 1e-9 * beta:
            break
        beta = beta - step if low < beta - step < high else math.sqrt(low * high)
    return 1 / beta


def expected_calibration_error(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """How far confidences[N] (0..1) are from hit rates, 0..1: the mean gap over equally wide bins, weighted by their samples."""
    bin_of = np.minimum((np.asarray(confidences) * bins).astype(int), bins - 1)
    gap = np.bincount(bin_of, weights=np.asarray(correct, dtype=np.float64) - confidences, minlength=bins)
    return float(np.abs(gap).sum() / len(bin_of))


# -------------------------------------------------------------------------------------------------------------------- calibration


def calibrate(
    outputs_per_level: Sequence[Floats], labels: Labels | None, latencies_ms: Sequence[float], already_softmax: bool = False
) -> tuple[LevelCalibration, ...]:
    """What strategies may know of each level, from its outputs[N, K] on tuning data, labels[N] and latency; level 0 is exact.

    Without labels a prediction counts as correct where it agrees with level 0, and no level states an accuracy.
    Raises DataError for outputs or labels that do not fit together.
    """
    _check_outputs(outputs_per_level, labels, len(latencies_ms))
    truth = outputs_per_level[0].argmax(axis=1) if labels is None else labels
    levels = []
    for outputs, latency_ms in zip(outputs_per_level, latencies_ms, strict=True):
        predicted = outputs.argmax(axis=1)
        correct = predicted == truth
        temperature = fit_temperature(_logits(outputs, already_softmax), truth)
        confidences = probabilities(outputs, already_softmax, temperature)[np.arange(len(outputs)), predicted]
        classes = (predicted == label for label in range(outputs.shape[1]))
        levels.append(
            LevelCalibration(
                relative_cost=latency_ms / latencies_ms[0],
                accuracy=None if labels is None else float(correct.mean()),
                temperature=temperature,
                overall=_class_confidence(confidences, correct),
                classes=tuple(_class_confidence(confidences[chosen], correct[chosen]) for chosen in classes),
            )
        )
    return tuple(levels)


def _class_confidence(confidences: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> ClassConfidence:
    right, wrong = confidences[correct], confidences[~correct]
    return ClassConfidence(len(right), len(wrong), float(right.mean()) if len(right) else None, float(wrong.mean()) if len(wrong) else None)


def _logits(outputs: Floats, already_softmax: bool) -> npt.NDArray[np.float64]:
    scores = np.asarray(outputs, dtype=np.float64)
    return np.log(np.maximum(scores, np.finfo(np.float32).tiny)) if already_softmax else scores


def _check_outputs(outputs_per_level: Sequence[Floats], labels: Labels | None, levels: int) -> None:
    if not len(outputs_per_level) or len(outputs_per_level) != levels:
        raise DataError(f"outputs of {len(outputs_per_level)} level(s) for {levels} level(s)")
    shape = outputs_per_level[0].shape
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"outputs of shape {list(shape)}: adaptation needs one row of class scores per sample")
    for level, outputs in enumerate(outputs_per_level):
        if outputs.shape != shape:
            raise DataError(f"outputs of level {level} have shape {list(outputs.shape)}, those of level 0 {list(shape)}")
        if not np.isfinite(outputs).all():
            raise DataError(
                f"outputs of level {level} are not all finite", mend="a setting of this level overflows; leave fp16 out, or this level"
            )
    if labels is not None and (labels.shape != shape[:1] or labels.min() < 0 or labels.max() >= shape[1]):
        raise DataError(
            f"labels of shape {list(labels.shape)} from {labels.min()} to {labels.max()} do not fit {shape[0]} samples of {shape[1]} classes",
            mend="give one label per sample, counted from 0 in the order of the network's outputs",
        )


# -------------------------------------------------------------------------------------------------------------------------- files


def calibration_to_json(levels: Sequence[LevelCalibration]) -> list[dict[str, Any]]:
    """One object per level, as `bundle.json` holds them."""
    return [
        {
            "relative_cost": level.relative_cost,
            "accuracy": level.accuracy,
            "temperature": level.temperature,
            "overall": _confidence_to_json(level.overall),
            "classes": [_confidence_to_json(c) for c in level.classes],
        }
        for level in levels
    ]


def calibration_from_json(value: Any, where: str = "calibration") -> tuple[LevelCalibration, ...]:
    """The inverse of `calibration_to_json`. Raises BundleError, naming the spot, for anything else."""
    if not isinstance(value, list) or not value:
        raise _damaged(where, "not a list of levels")
    levels = []
    for index, level in enumerate(value):
        here = f"{where}[{index}]"
        _check_keys(level, ("relative_cost", "accuracy", "temperature", "overall", "classes"), here)
        if not isinstance(level["classes"], list) or not level["classes"]:
            raise _damaged(f"{here}.classes", "not a list of classes")
        accuracy = level["accuracy"]
        levels.append(
            LevelCalibration(
                relative_cost=_number(level["relative_cost"], f"{here}.relative_cost", above=0),
                accuracy=None if accuracy is None else _number(accuracy, f"{here}.accuracy", most=1),
                temperature=_number(level["temperature"], f"{here}.temperature", above=0),
                overall=_confidence_from_json(level["overall"], f"{here}.overall"),
                classes=tuple(_confidence_from_json(c, f"{here}.classes[{i}]") for i, c in enumerate(level["classes"])),
            )
        )
    if len({len(level.classes) for level in levels}) > 1:
        raise _damaged(where, "levels differ in how many classes they have")
    return tuple(levels)


def _confidence_to_json(confidence: ClassConfidence) -> dict[str, Any]:
    return {
        "correct_count": confidence.correct_count,
        "wrong_count": confidence.wrong_count,
        "correct_mean": confidence.correct_mean,
        "wrong_mean": confidence.wrong_mean,
    }


def _confidence_from_json(value: Any, where: str) -> ClassConfidence:
    _check_keys(value, ("correct_count", "wrong_count", "correct_mean", "wrong_mean"), where)
    counts: list[int] = []
    means: list[float | None] = []
    for side in ("correct", "wrong"):
        count, mean = value[f"{side}_count"], value[f"{side}_mean"]
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise _damaged(f"{where}.{side}_count", "not a count")
        if (count == 0) != (mean is None):
            raise _damaged(f"{where}.{side}_mean", "a mean is there exactly where the count is not 0")
        counts.append(count)
        means.append(None if mean is None else _number(mean, f"{where}.{side}_mean", most=1))
    return ClassConfidence(counts[0], counts[1], means[0], means[1])


def _check_keys(value: Any, keys: Sequence[str], where: str) -> None:
    if not isinstance(value, Mapping):
        raise _damaged(where, "not an object")
    if set(value) != set(keys):
        raise _damaged(where, f"has the keys {', '.join(sorted(map(str, value)))}; wanted are {', '.join(keys)}")


def _number(value: Any, where: str, above: float | None = None, most: float = math.inf) -> float:
    """A finite number from 0 (or above `above`) to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _damaged(where, "not a finite number")
    if value < 0 or value > most or (above is not None and value <= above):
        raise _damaged(where, f"{value} is out of range")
    return float(value)


def _damaged(where: str, what: str) -> BundleError:
    return BundleError(what, where=where, mend="the file is damaged or was edited; make the bundle again with 'mobiprox run'")


# ------------------------------------------------------------------------------------------------------------------------- replay


@dataclass(frozen=True, slots=True)
class StaticLevel:
    """One level kept over the whole trace. accuracy: against the labels, None without; agreement: with level 0's predictions."""

    level: int
    accuracy: float | None
    agreement: float
    relative_cost: float


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """A strategy's walk over a trace of N samples, and what keeping one level would have given.

    level, label, confidence: [N], which level ran and what it predicted, confidence calibrated. exact_label: [N], level 0's predictions.
    correct, exact_correct: bool[N], this walk's and level 0's predictions against the labels, or against exact_label where there are
    none. notes: what the trace says of each sample.
    accuracy: share of correct predictions, None without labels; agreement: share equal to level 0's.
    relative_cost: mean of the levels' relative costs over the trace; switches: how often the level changed.
    best_static: the most accurate single level that costs no more than the walk did.
    """

    level: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    exact_label: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    exact_correct: npt.NDArray[np.bool_]
    accuracy: float | None
    agreement: float
    relative_cost: float
    static: tuple[StaticLevel, ...]
    best_static: StaticLevel
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        return len(self.level)

    @property
    def mean_level(self) -> float:
        return float(self.level.mean())

    @property
    def switches(self) -> int:
        return int(np.count_nonzero(np.diff(self.level)))

    def to_json(self) -> dict[str, Any]:
        """Numbers first, then the whole walk under ``timeline``."""
        return {
            "accuracy": self.accuracy,
            "agreement": self.agreement,
            "relative_cost": self.relative_cost,
            "mean_level": self.mean_level,
            "steps": self.steps,
            "switches": self.switches,
            "static": [_static_to_json(s) for s in self.static],
            "best_static": _static_to_json(self.best_static),
            "timeline": {
                "level": self.level.tolist(),
                "label": self.label.tolist(),
                "confidence": [round(c, 4) for c in self.confidence.tolist()],
                "exact_label": self.exact_label.tolist(),
                "correct": self.correct.tolist(),
                "exact_correct": self.exact_correct.tolist(),
                "notes": list(self.notes),
            },
        }


def replay(
    strategy: Strategy,
    outputs_per_level: Sequence[Floats],
    levels: Sequence[LevelCalibration],
    labels: Labels | None = None,
    *,
    already_softmax: bool = False,
    notes: Sequence[str] = (),
) -> Replay:
    """Walk a trace whose outputs[N, K] are known for every level. The first sample runs at level 0; each later level was chosen
    from the samples before it.

    Raises DataError for a trace that does not fit, PluginError for a strategy that leaves the levels.
    """
    _check_outputs(outputs_per_level, labels, len(levels))
    samples = np.arange(len(outputs_per_level[0]))
    all_labels = np.stack([outputs.argmax(axis=1) for outputs in outputs_per_level])
    all_confidences = np.stack(
        [
            probabilities(outputs, already_softmax, level.temperature)[samples, predicted]
            for outputs, level, predicted in zip(outputs_per_level, levels, all_labels, strict=True)
        ]
    )
    walked = _walk(strategy, all_labels.tolist(), all_confidences.tolist())
    costs = np.array([level.relative_cost for level in levels])
    exact_label = all_labels[0]
    truth = exact_label if labels is None else labels
    label = all_labels[walked, samples]
    relative_cost = float(costs[walked].mean())
    static = tuple(
        StaticLevel(
            index,
            None if labels is None else float((predicted == labels).mean()),
            float((predicted == exact_label).mean()),
            float(costs[index]),
        )
        for index, predicted in enumerate(all_labels)
    )
    # The tolerance admits the walk that never left one level, whose mean cost is rounded.
    affordable = [s for s in static if s.relative_cost <= relative_cost * (1 + 1e-9)]
    return Replay(
        level=walked,
        label=label,
        confidence=all_confidences[walked, samples],
        exact_label=exact_label,
        correct=label == truth,
        exact_correct=exact_label == truth,
        accuracy=None if labels is None else float((label == labels).mean()),
        agreement=float((label == exact_label).mean()),
        relative_cost=relative_cost,
        static=static,
        best_static=max(affordable, key=lambda s: (s.agreement if s.accuracy is None else s.accuracy, -s.relative_cost)),
        notes=tuple(map(str, notes)),
    )


def _walk(strategy: Strategy, labels: list[list[int]], confidences: list[list[float]]) -> npt.NDArray[np.int64]:
    """The level of every sample; labels and confidences are [levels][N], as Python numbers because the loop is one of Python."""
    count, state, level, walked = len(labels), strategy.start(), 0, []
    for sample in range(len(labels[0])):
        walked.append(level)
        state, level = strategy.step(state, Observation(labels[level][sample], confidences[level][sample], level))
        if not 0 <= level < count:
            raise PluginError(f"{type(strategy).__name__} chose level {level} after sample {sample}; there are levels 0 to {count - 1}")
    return np.array(walked, dtype=np.int64)


def _static_to_json(static: StaticLevel) -> dict[str, Any]:
    return {
        "level": static.level,
        "accuracy": static.accuracy,
        "agreement": static.agreement,
        "relative_cost": static.relative_cost,
    }
