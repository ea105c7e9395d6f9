"""Statistics of an operator straight from their definition: every output position of the inputs given, nothing drawn, nothing streamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobiprox_core import reference
from mobiprox_core.graph import Graph, Operator
from mobiprox_core.interfaces import Moments
from mobiprox_core.tables import Role

from . import graphs

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    MeanChange = Callable[[Role, Callable[[Floats], Floats]], npt.NDArray[np.float64]]


class Observed:
    """`interfaces.Statistics` of one operator; what `once` makes is kept in memory."""

    def __init__(self, samples: int, moments: Moments, values: Mapping[Role, Floats], outputs: Floats, mean_change: MeanChange) -> None:
        self.samples = samples
        self.mean_change = mean_change
        self._moments = moments
        self._values = values
        self._outputs = outputs
        self._made: dict[str, Mapping[str, npt.NDArray[Any]]] = {}

    def moments(self) -> Moments:
        return self._moments

    def values(self, role: Role) -> Floats:
        return self._values[role]

    def outputs(self) -> Floats:
        return self._outputs

    def once(self, key: str, work: Callable[[], Mapping[str, npt.NDArray[Any]]]) -> Mapping[str, npt.NDArray[Any]]:
        if key not in self._made:
            self._made[key] = work()
        return self._made[key]


def observe(graph: Graph, batches: Sequence[Sequence[Floats]], op: str = "op") -> Observed:
    """The statistics of an operator over some batches of the graph's inputs."""
    operator = graph[op]
    bare = replace(operator, activation=None, residual=None)
    patches, outputs, given_whole = [], [], []
    read: dict[Role, list[Floats]] = {"input": [], "residual": []}
    channel_axis = 1 if operator.kind == "conv" else -1
    for batch in batches:
        tensors = reference.activations(graph, batch)
        read["input"].append(tensors[operator.inputs[0]])
        if operator.residual is not None:
            read["residual"].append(tensors[operator.residual])
        groups, found = _patches(operator, graph, tensors[operator.inputs[0]])
        given = reference.run_operator(graph, bare, tensors)
        given_whole.append(given if given.ndim != 3 or operator.kind == "dense" else given[:, :, None])
        given = np.moveaxis(given, 1, -1) if operator.kind == "conv" else given
        patches.append(found)
        outputs.append(given.reshape(-1, groups, given.shape[-1] // groups).transpose(1, 0, 2))
    x, y = (np.concatenate(parts, axis=1).astype(np.float64) for parts in (patches, outputs))
    mean, target = x.mean(1), y.mean(1)
    x, y = x - mean[:, None], y - target[:, None]
    moments = Moments(x.shape[1], mean, target, (x.transpose(0, 2, 1) @ x,), x.transpose(0, 2, 1) @ y)
    values = {role: np.sort(np.concatenate(parts).ravel()) for role, parts in read.items() if parts}

    def mean_change(role: Role, function: Callable[[Floats], Floats]) -> npt.NDArray[np.float64]:
        changes = [function(x) - x for x in read[role]]
        if role == "residual":
            moved = np.moveaxis(np.concatenate(changes), channel_axis, 0)
            return np.asarray(moved.reshape(len(moved), -1).mean(1, dtype=np.float64))
        seen = [_patches(operator, graph, change)[1] for change in changes]
        return np.asarray(np.concatenate(seen, axis=1).mean(1, dtype=np.float64))

    return Observed(sum(len(batch[0]) for batch in batches), moments, values, np.concatenate(given_whole), mean_change)


def some(graph: Graph, batches: int = 6) -> Observed:
    """The statistics of operator ``op`` over normally distributed inputs."""
    return observe(graph, [graphs.inputs(graph, seed) for seed in range(1, batches + 1)])


def _patches(operator: Operator, graph: Graph, x: Floats) -> tuple[int, Floats]:
    """The number of groups, and what the filters of each see: [G, R, K]."""
    if operator.kind == "dense":
        return 1, x.reshape(1, -1, x.shape[-1])
    group, (_, per_group, kernel_rows, kernel_columns) = operator["group"], operator.constants["weight"].shape
    x = x if x.ndim == 4 else x[:, :, None]
    out = graph.shape(operator.output)
    rows, columns = (out[2], out[3]) if len(out) == 4 else (1, out[2])
    top, left, bottom, right = operator["pads"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    seen = np.empty((group, len(x), rows, columns, per_group, kernel_rows, kernel_columns), np.float32)
    for i in range(kernel_rows):
        for j in range(kernel_columns):
            first = i * operator["dilations"][0], j * operator["dilations"][1]
            stop = (first[a] + (size - 1) * operator["strides"][a] + 1 for a, size in enumerate((rows, columns)))
            part = padded[:, :, *(slice(f, s, step) for f, s, step in zip(first, stop, operator["strides"], strict=True))]
            seen[..., i, j] = part.reshape(len(x), group, per_group, rows, columns).transpose(1, 0, 3, 4, 2)
    return group, seen.reshape(group, len(x) * rows * columns, -1)
