"""What a prediction is worth, as shares in percentage points. Scores are of classes: outputs float32[N, K], labels int64[N]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.interfaces import Floats, Options, Truth

    Statistics = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.int64]

NO_OPTIONS: Mapping[str, Any] = {"type": "object", "properties": {}}


class _Share:
    """Of the samples that are done well: the mean of one statistic, 0 or 1."""

    unit = "pp"
    higher_is_better = True
    classifies = True
    needs_labels = True
    grain = 100.0
    default_max_loss = 5.0
    options: Mapping[str, Any] = NO_OPTIONS

    def score(self, means: Statistics, options: Options) -> Statistics:
        return 100 * means[..., 0]


class Accuracy(_Share):
    """The class of the highest score is the label."""

    name = "accuracy"
    summary = "share of right predictions"

    def statistics(self, outputs: Floats, truth: Truth, options: Options) -> Statistics:
        return _hits(outputs, _labels(truth), 1)


class Agreement(_Share):
    """The class of the highest score is that of the exact network, right or wrong."""

    name = "agreement"
    summary = "share of predictions that are those of the exact network; needs no labels"
    needs_labels = False

    def statistics(self, outputs: Floats, truth: Truth, options: Options) -> Statistics:
        return _hits(outputs, truth.exact.argmax(axis=1), 1)


class TopK(_Share):
    """The label is among the k classes of the highest scores."""

    name = "top_k"
    summary = "share of labels among the k highest scores"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {"k": {"type": "integer", "minimum": 1, "default": 5, "description": "how many scores count"}},
    }

    def statistics(self, outputs: Floats, truth: Truth, options: Options) -> Statistics:
        return _hits(outputs, _labels(truth), options.get("k", 5))


class MacroF1(_Share):
    """The mean over classes of the harmonic mean of precision and recall: rare classes count as much as frequent ones.

    Of classes that no label names, nothing can be said, and they are left out.
    """

    name = "macro_f1"
    summary = "harmonic mean of precision and recall, averaged over classes"

    def statistics(self, outputs: Floats, truth: Truth, options: Options) -> Statistics:
        """For every class: is it the label and predicted; is it predicted; is it the label."""
        import numpy as np

        classes = np.arange(outputs.shape[1])
        labelled, predicted = _labels(truth)[:, None] == classes, outputs.argmax(axis=1)[:, None] == classes
        return np.concatenate([labelled & predicted, predicted, labelled], axis=1).astype(np.float64)

    def score(self, means: Statistics, options: Options) -> Statistics:
        import numpy as np

        both, predicted, labelled = np.split(means, 3, axis=-1)
        present = labelled > 1e-12
        f1 = np.where(present, 2 * both / np.where(present, predicted + labelled, 1), 0)
        return np.asarray(100 * f1.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def _hits(outputs: Floats, labels: Labels, k: int) -> Statistics:
    """float64[N, 1]: whether fewer than k classes score higher than the label's (of equal scores the first counts as higher)."""
    import numpy as np

    own = np.take_along_axis(outputs, labels[:, None], axis=1)
    before = np.arange(outputs.shape[1]) < labels[:, None]
    higher = (outputs > own) | ((outputs == own) & before)
    return np.asarray(higher.sum(axis=1) < k, dtype=np.float64)[:, None]


def _labels(truth: Truth) -> Labels:
    assert truth.labels is not None, "core asks only where there are labels"
    return truth.labels
