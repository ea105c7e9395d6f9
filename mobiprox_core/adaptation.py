"""Calibrated confidences, and what strategies know of the levels. Replays of recorded traces are in `replays`.

Everything works on outputs that were computed before: float32[N, K] class scores per level, so no device takes part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import BundleError, DataError
from .interfaces import Agreement, ClassConfidence, LevelCalibration

if TYPE_CHECKING:
    from .interfaces import Floats

Labels = npt.NDArray[np.integer[Any]]
Groups = npt.NDArray[np.str_]

THRESHOLDS = 64
"""Quantiles of a level's confidences at which its agreement with level 0 is kept, besides that of threshold 0."""

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


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidences may be taken at their word: samples in equally wide bins of confidence (the reliability diagram).

    counts: int[B]. confidence, accuracy: float[B], means of each bin; None where it is empty. error: the expected calibration error,
    0..1, the mean gap between the two over all samples; uncalibrated: the same at temperature 1.
    """

    counts: tuple[int, ...]
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    error: float
    uncalibrated: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reliability(outputs: Floats, labels: Labels, already_softmax: bool, temperature: float, bins: int = 10) -> Reliability:
    """Of outputs[N, K] against labels[N]."""
    predicted = outputs.argmax(axis=1)
    correct, every = predicted == labels, np.arange(len(labels))
    confidences, raw = (probabilities(outputs, already_softmax, t)[every, predicted] for t in (temperature, 1.0))
    bin_of = _bin_of(confidences, bins)
    counts = np.bincount(bin_of, minlength=bins)

    def means(values: npt.NDArray[Any]) -> tuple[float | None, ...]:
        sums = np.bincount(bin_of, weights=values, minlength=bins)
        return tuple(float(total / n) if n else None for total, n in zip(sums, counts, strict=True))

    return Reliability(
        counts=tuple(counts.tolist()),
        confidence=means(confidences),
        accuracy=means(correct),
        error=expected_calibration_error(confidences, correct, bins),
        uncalibrated=expected_calibration_error(raw, correct, bins),
    )


def expected_calibration_error(confidences: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """How far confidences[N] (0..1) are from hit rates, 0..1: the mean gap over equally wide bins, weighted by their samples."""
    gap = np.bincount(_bin_of(confidences, bins), weights=np.asarray(correct, dtype=np.float64) - confidences, minlength=bins)
    return float(np.abs(gap).sum() / len(confidences))


def _bin_of(confidences: npt.NDArray[np.floating[Any]], bins: int) -> npt.NDArray[np.int64]:
    return np.minimum((np.asarray(confidences) * bins).astype(np.int64), bins - 1)


# -------------------------------------------------------------------------------------------------------------------- calibration


def calibrate(
    outputs_per_level: Sequence[Floats],
    labels: Labels | None,
    latencies_ms: Sequence[float],
    already_softmax: bool = False,
    groups: Groups | None = None,
    one_temperature: bool = False,
) -> tuple[LevelCalibration, ...]:
    """What strategies may know of each level, from its outputs[N, K] on tuning data, labels[N] and latency; level 0 is exact.

    one_temperature: one for all levels, fitted to the outputs of the approximated ones together, as the paper does; else each has its own.

    Without labels a prediction counts as correct where it agrees with level 0, and no level states an accuracy.
    groups[N]: who or what each sample comes from. Raises DataError for outputs or labels that do not fit together.
    """
    check_outputs(outputs_per_level, labels, len(latencies_ms))
    if groups is not None and groups.shape != outputs_per_level[0].shape[:1]:
        raise DataError(f"groups of shape {list(groups.shape)} for {len(outputs_per_level[0])} samples", mend="give one group per sample")
    exact = outputs_per_level[0].argmax(axis=1)
    truth = exact if labels is None else labels
    if one_temperature:
        together = list(outputs_per_level[1:]) or list(outputs_per_level)
        shared = fit_temperature(_logits(np.concatenate(together), already_softmax), np.tile(truth, len(together)))
        temperatures = [shared] * len(outputs_per_level)
    else:
        temperatures = [fit_temperature(_logits(outputs, already_softmax), truth) for outputs in outputs_per_level]
    levels = []
    for outputs, latency_ms, temperature in zip(outputs_per_level, latencies_ms, temperatures, strict=True):
        predicted = outputs.argmax(axis=1)
        correct = predicted == truth
        confidences = probabilities(outputs, already_softmax, temperature)[np.arange(len(outputs)), predicted]
        classes = (predicted == label for label in range(outputs.shape[1]))
        levels.append(
            LevelCalibration(
                relative_cost=latency_ms / latencies_ms[0],
                accuracy=None if labels is None else float(correct.mean()),
                temperature=temperature,
                overall=_class_confidence(confidences, correct),
                classes=tuple(_class_confidence(confidences[chosen], correct[chosen]) for chosen in classes),
                agreement=agreement(confidences, predicted != exact, groups),
            )
        )
    return tuple(levels)


def agreement(confidences: npt.NDArray[np.float64], differs: npt.NDArray[np.bool_], groups: Groups | None = None) -> Agreement:
    """From confidences[N], whether each prediction differs from level 0's, and groups[N].

    Thresholds are confidences that were seen, evenly spaced in rank. A bound that holds for the grid holds for the threshold chosen
    from it, because what differs never rises with the threshold.
    """
    thresholds = np.unique(np.quantile(confidences, np.linspace(0, 1, THRESHOLDS), method="inverted_cdf"))
    thresholds = np.concatenate([[0.0], thresholds[thresholds > 0]])
    accepted = confidences >= thresholds[:, None]
    wrong = accepted & differs
    names, group_of = (np.zeros(0), np.zeros(len(differs), int)) if groups is None else np.unique(groups, return_inverse=True)
    size = np.bincount(group_of)
    by_group = [float((np.bincount(group_of, weights=row) / size).mean()) for row in wrong]
    return Agreement(
        thresholds=tuple(thresholds.tolist()),
        accepted=tuple(accepted.mean(axis=1).tolist()),
        differing=tuple(wrong.mean(axis=1).tolist()),
        samples=len(differs),
        groups=len(names),
        group_differing=tuple(by_group),
    )


def _class_confidence(confidences: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> ClassConfidence:
    right, wrong = confidences[correct], confidences[~correct]
    return ClassConfidence(len(right), len(wrong), float(right.mean()) if len(right) else None, float(wrong.mean()) if len(wrong) else None)


def _logits(outputs: Floats, already_softmax: bool) -> npt.NDArray[np.float64]:
    scores = np.asarray(outputs, dtype=np.float64)
    return np.log(np.maximum(scores, np.finfo(np.float32).tiny)) if already_softmax else scores


def check_outputs(outputs_per_level: Sequence[Floats], labels: Labels | None, levels: int) -> None:
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
            "agreement": None if level.agreement is None else _agreement_to_json(level.agreement),
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
        _check_keys(level, ("relative_cost", "accuracy", "temperature", "overall", "classes", "agreement"), here)
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
                agreement=None if level["agreement"] is None else _agreement_from_json(level["agreement"], f"{here}.agreement"),
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
        count, mean = _count(value[f"{side}_count"], f"{where}.{side}_count"), value[f"{side}_mean"]
        if (count == 0) != (mean is None):
            raise _damaged(f"{where}.{side}_mean", "a mean is there exactly where the count is not 0")
        counts.append(count)
        means.append(None if mean is None else _number(mean, f"{where}.{side}_mean", most=1))
    return ClassConfidence(counts[0], counts[1], means[0], means[1])


_CURVES = ("thresholds", "accepted", "differing", "group_differing")


def _agreement_to_json(agreement: Agreement) -> dict[str, Any]:
    curves = {key: list(getattr(agreement, key)) for key in _CURVES}
    return {"samples": agreement.samples, "groups": agreement.groups, **curves}


def _agreement_from_json(value: Any, where: str) -> Agreement:
    _check_keys(value, ("samples", "groups", *_CURVES), where)
    counts = {key: _count(value[key], f"{where}.{key}") for key in ("samples", "groups")}
    curves = {}
    for key in _CURVES:
        if not isinstance(value[key], list) or not value[key] or len(value[key]) != len(value["thresholds"]):
            raise _damaged(f"{where}.{key}", "not a list with one number per threshold")
        curves[key] = tuple(_number(item, f"{where}.{key}[{i}]", most=1) for i, item in enumerate(value[key]))
        ordered = sorted(set(curves[key])) if key == "thresholds" else sorted(curves[key], reverse=True)
        if list(curves[key]) != ordered:
            raise _damaged(f"{where}.{key}", "out of order")
    return Agreement(**counts, **curves)  # type: ignore[arg-type]


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 53:  # what doubles count to: JSON of other languages
        raise _damaged(where, "not a count")
    return value


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
