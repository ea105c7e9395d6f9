"""How far outputs are from what they should be: the targets of the data, or else what the exact network gives. Outputs: float32[N, K]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mobiprox_core.interfaces import Floats, Options, Truth

    Statistics = npt.NDArray[np.float64]


class _Distance:
    """Mean squared error of each sample."""

    classifies = False
    needs_labels = False
    grain = 0.0

    def statistics(self, outputs: Floats, truth: Truth, options: Options) -> Statistics:
        """float64[N, 2]: squared error, and the square of the largest magnitude of the exact output."""
        import numpy as np

        wanted = truth.exact if truth.targets is None else truth.targets
        error = np.square(outputs.astype(np.float64) - wanted).mean(axis=1)
        return np.stack([error, np.square(np.abs(truth.exact).max(axis=1).astype(np.float64))], axis=1)


class Mse(_Distance):
    """Mean over outputs and samples."""

    name = "mse"
    summary = "mean squared error, to the targets of the data or else to the exact network"
    options: Mapping[str, Any] = {"type": "object", "properties": {}}
    unit = "squared error"
    higher_is_better = False
    default_max_loss = 0.01

    def score(self, means: Statistics, options: Options) -> Statistics:
        return means[..., 0]


class Psnr(_Distance):
    """10 log10(peak² / mean squared error), decibels. Beyond `ceiling` nothing better can be told."""

    name = "psnr"
    summary = "peak signal-to-noise ratio, to the targets of the data or else to the exact network"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "peak": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": "largest value of an output, such as 1 or 255; the typical largest magnitude of the exact outputs if left out",
            },
            "ceiling": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 60,
                "description": "decibels that count as perfect; without targets the exact network has so many",
            },
        },
    }
    unit = "dB"
    higher_is_better = True
    default_max_loss = 25.0

    def score(self, means: Statistics, options: Options) -> Statistics:
        import numpy as np

        peak = options["peak"] ** 2 if "peak" in options else means[..., 1]
        least = peak * 10 ** (-options.get("ceiling", 60) / 10)
        return np.asarray(10 * np.log10(np.maximum(peak, 1e-300) / np.maximum(means[..., 0], np.maximum(least, 1e-300))))
