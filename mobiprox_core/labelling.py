"""Label and confidence computed in the plan: a last operator writes them and the scores in one row, so that one read fetches all.

The temperature of a level is a number in that level's descriptor row: levels of one temperature share a variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .configuration import EXACT
from .plan import ExecutionPlan, Launch, PlanOperator, Slot, Variant

NAME = "(label)"
FUNCTION = "label"
"""Its kernel function, kernels/label.cl; every program has it."""
ALIGNMENT = 16


def with_labels(plan: ExecutionPlan, temperatures: Sequence[float], already_softmax: bool = False) -> ExecutionPlan:
    """The plan, with `ExecutionPlan.labelled`: the first output's label and confidence at the temperature of each level.

    already_softmax: whether that output is probabilities rather than logits.
    """
    import numpy as np

    assert len(temperatures) == len(plan.levels), f"{len(temperatures)} temperatures for {len(plan.levels)} levels"
    scores = plan.outputs[0]
    images, channels, rows, columns = scores.extent
    length = 2 + channels * rows * columns
    start = -(-plan.arena_elements // ALIGNMENT) * ALIGNMENT
    elements = start + images * length
    distinct = tuple(dict.fromkeys(temperatures))

    def variant(temperature: float) -> Variant:
        bits = int(np.float32(temperature).view(np.int32))
        row = (scores.offset, *scores.strides, scores.block, channels, rows, columns, start, bits, int(already_softmax))
        return Variant(EXACT, (Launch(FUNCTION, images, row),))

    memory = dict(plan.notes.get("memory_bytes", {}))
    memory["activations"] = memory.get("activations", 0) + 4 * (elements - plan.arena_elements)
    return replace(
        plan,
        arena_elements=elements,
        operators=(*plan.operators, PlanOperator(NAME, "label", tuple(map(variant, distinct)))),
        levels=tuple((*level, distinct.index(t)) for level, t in zip(plan.levels, temperatures, strict=True)),
        labelled=Slot(NAME, (images, length), (images, length, 1, 1), start, (length, 1, 1, 1)),
        notes={**plan.notes, "memory_bytes": memory},
    )
