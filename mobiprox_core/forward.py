"""Operators on many inputs at once, in NumPy, fast: the same as `reference.run_operator`, but only what is computed is computed.

Lines and filter elements that a setting skips are not looked at; the sums are products of matrices. Activations are float32[N, ...] in
chunks of the graph's batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import reference
from .configuration import Setting
from .graph import Graph, Operator
from .interfaces import Approximation, Statistics, Technique
from .lowering.convolution import exact_tables
from .lowering.views import four
from .plan import DeviceInfo
from .tables import Tables

if TYPE_CHECKING:
    from .interfaces import Floats

_PATCH_BYTES = 8 << 20  # of patches that are multiplied at once: they should stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A convolution or dense layer under a setting. weight: float32[O, T] of the taps of `tables`, as the setting means it; bias: float32[O].

    parts: what else the setting does, in order.
    """

    operator: Operator
    tables: Tables
    weight: Floats
    bias: Floats
    parts: tuple[Approximation, ...]

    @property
    def group(self) -> int:
        return int(self.operator.attributes.get("group", 1))


def prepared(
    operator: Operator,
    graph: Graph,
    setting: Setting,
    techniques: Mapping[str, Technique],
    device: DeviceInfo,
    statistics: Statistics | None,
) -> Work:
    """The operator under a setting, ready to be run. Raises InfeasibleSetting where the setting means nothing here."""
    tables, parts = exact_tables(operator, graph), []
    weight, bias = operator.constants["weight"], operator.constants["bias"]
    for knobs in setting:
        technique = techniques[knobs.technique]
        fitted = technique.prepare(knobs, operator, statistics)
        tables = technique.edit(knobs, operator, tables, device, fitted)
        part = technique.reference(knobs, operator, graph, fitted)
        weight = weight if part.weight is None else part.weight(weight)
        bias = bias if part.bias is None else part.bias(bias)
        parts.append(part)
    kept = np.ascontiguousarray(weight.reshape(len(weight), -1)[:, tables.taps], dtype=np.float32)
    return Work(operator, tables, kept, bias, tuple(parts))


def result(work: Work, x: Floats, weight: Floats, bias: Floats, shape: Sequence[int]) -> Floats:
    """What the operator gives before residual and activation, with these weights and this bias. x: what it reads; shape: of its output."""
    for part in work.parts:
        x = x if part.input is None else part.input(x)
    y = _dense(work, x, weight, bias) if work.operator.kind == "dense" else _convolution(work, x, weight, bias, shape)
    for part in work.parts:
        y = y if part.output is None else part.output(y)
    return y.reshape(shape)


def finished(work: Work, y: Floats, residual: Floats | None) -> Floats:
    """The operator's output, from its sums."""
    if residual is not None:
        for part in work.parts:
            residual = residual if part.residual is None else part.residual(residual)
        y = y + residual
    if work.operator.activation is not None:
        y = reference.activate(y, work.operator.activation)
    for part in work.parts:
        y = y if part.finish is None else part.finish(y)
    return np.asarray(y, np.float32, order="C")


def patches(work: Work, x: Floats, at: npt.NDArray[np.int64], graph: Graph) -> Floats:
    """What the filters see at some output positions of x: [G, R, T]. at: int64[R], flattened (n, h, w), all computed."""
    op, taps = work.operator, work.tables.taps
    for part in work.parts:
        x = x if part.input is None else part.input(x)
    if op.kind == "dense":
        return x.reshape(-1, x.shape[-1])[at][None, :, taps]
    windows = reference.windows(graph, op, x)
    n, h, w = np.unravel_index(at, (windows.shape[0], *windows.shape[2:4]))
    seen = windows[n, :, h, w].reshape(len(at), work.group, -1)
    return np.ascontiguousarray(seen.transpose(1, 0, 2)[:, :, taps])


def _dense(work: Work, x: Floats, weight: Floats, bias: Floats) -> Floats:
    taps = work.tables.taps
    return np.asarray((x if len(taps) == x.shape[-1] else x[..., taps]) @ weight.T + bias, np.float32)


def _convolution(work: Work, x: Floats, weight: Floats, bias: Floats, shape: Sequence[int]) -> Floats:
    """float32[N, O, H, W]; lines that are not computed are zero."""
    tables, op = work.tables, work.operator
    _, outputs, height, width = four(tuple(shape))
    images = (x if x.ndim == 4 else x[:, :, None]).transpose(1, 0, 2, 3)  # [C, N, H, W]
    top, left, bottom, right = op["pads"]
    kernel, reach = op.constants["weight"].shape[2:], []
    for axis, lines in enumerate((tables.rows, tables.columns)):
        reach.append(int(lines[-1]) * op["strides"][axis] + (kernel[axis] - 1) * op["dilations"][axis] + 1)
    more = (max(bottom, reach[0] - images.shape[2] - top), max(right, reach[1] - images.shape[3] - left))
    padded = np.pad(images, ((0, 0), (0, 0), (top, more[0]), (left, more[1])))
    computed = len(tables.rows), len(tables.columns)
    y = np.empty((len(x), outputs, *computed), np.float32)
    step = max(1, _PATCH_BYTES // (4 * len(tables.taps) * computed[0] * computed[1] * (work.group if _is_depthwise(work) else 1)))
    for start in range(0, len(x), step):
        part = padded[:, start : start + step]
        sums = _depthwise(work, part, weight) if _is_depthwise(work) else _products(work, part, weight)
        y[start : start + step] = sums.transpose(1, 0, 2, 3)
    y += bias[:, None, None]
    if computed == (height, width):
        return y
    whole = np.zeros((len(x), outputs, height, width), np.float32)
    whole[:, :, tables.rows[:, None], tables.columns] = y
    return whole


def _is_depthwise(work: Work) -> bool:
    return work.group > 1 and work.group == len(work.weight) and work.operator.constants["weight"].shape[1] == 1


def _depthwise(work: Work, x: Floats, weight: Floats) -> Floats:
    """float32[O, n, R, Q] of padded x[C, n, H, W], one filter per channel."""
    kernel = work.operator.constants["weight"].shape[2:]
    sums = 0.0
    for position, of in zip(work.tables.taps, weight.T, strict=True):
        sums = sums + _seen(work, x, *divmod(int(position), kernel[1])) * of[:, None, None, None]
    return np.asarray(sums, np.float32)


def _products(work: Work, x: Floats, weight: Floats) -> Floats:
    """float32[O, n, R, Q] of padded x[C, n, H, W]."""
    _, per_group, rows, columns = work.operator.constants["weight"].shape
    channel, i, j = np.unravel_index(work.tables.taps, (per_group, rows, columns))
    lines = len(work.tables.rows), len(work.tables.columns)
    seen = np.empty((len(work.tables.taps), x.shape[1], *lines), np.float32)
    groups = []
    for g, filters in enumerate(np.split(weight, work.group)):
        own = x[g * per_group : (g + 1) * per_group]
        for position in sorted(set(zip(i.tolist(), j.tolist(), strict=True))):
            here = np.flatnonzero((i == position[0]) & (j == position[1]))
            seen[here] = _seen(work, own, *position)[channel[here]]
        groups.append(filters @ seen.reshape(len(seen), -1))
    return np.concatenate(groups).reshape(-1, x.shape[1], *lines)


def _seen(work: Work, x: Floats, i: int, j: int) -> Floats:
    """What the filter element (i, j) of every channel sees at the computed pixels: [C, n, R, Q] of padded x[C, n, H, W]."""
    op, tables = work.operator, work.tables
    for axis, lines, at in ((2, tables.rows, i * op["dilations"][0]), (3, tables.columns, j * op["dilations"][1])):
        stride = op["strides"][axis - 2]
        if bool((np.diff(lines) == 1).all()):
            begin = at + int(lines[0]) * stride
            x = x[(slice(None),) * axis + (slice(begin, begin + (len(lines) - 1) * stride + 1, stride),)]
        else:
            x = np.take(x, lines * stride + at, axis=axis)
    return x
