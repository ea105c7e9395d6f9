"""Does the guarded strategy keep its word? Random splits of all labelled data into those it is calibrated on and those it meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mobiprox_core.adaptation import calibrate
from mobiprox_core.replays import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobiprox_core.interfaces import Floats
    from mobiprox_core.plugins import Registry

SPLITS, BOUND_PP, CONFIDENCE = 200, 2.0, 0.9


def split_at_random(outputs: Sequence[Floats], labels: np.ndarray, costs: Sequence[float], registry: Registry) -> dict[str, Any]:
    """What SPLITS halvings come to: how often `guarded` lost more than BOUND_PP against the exact network on the half it was not calibrated on.

    outputs: [N, K] per level; labels: [N]; costs: per level.
    """
    rng, losses, paid = np.random.default_rng(0), [], []
    for _ in range(SPLITS):
        order = rng.permutation(len(labels))
        known, unseen = order[: len(order) // 2], order[len(order) // 2 :]
        levels = calibrate([own[known] for own in outputs], labels[known], costs)
        strategy = registry.get("strategy", "guarded").create({"max_loss_pp": BOUND_PP, "confidence": CONFIDENCE, "unit": "sample"}, levels)
        walk = Trace.of([own[unseen] for own in outputs], levels, labels[unseen]).replay(strategy)
        losses.append(0 - walk.against_exact.difference_pp)
        paid.append(walk.relative_cost)
    return {
        "splits": SPLITS,
        "bound_pp": BOUND_PP,
        "confidence": CONFIDENCE,
        "samples": len(labels),
        "broken": float(np.mean(np.array(losses) > BOUND_PP)),
        "loss_pp": float(np.mean(losses)),
        "worst_loss_pp": float(np.max(losses)),
        "relative_cost": float(np.mean(paid)),
    }
