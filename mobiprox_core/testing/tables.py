"""Edited tables in NumPy: their invariants, and what they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobiprox_core.graph import Operator
from mobiprox_core.tables import Tables

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


def check(tables: Tables, exact: Tables) -> None:
    """What lowering relies on. exact: the tables before any edit."""
    for name in ("rows", "columns", "taps"):
        left, whole = getattr(tables, name), getattr(exact, name)
        assert len(left), f"no {name} left"
        assert (np.diff(left) > 0).all(), f"{name} do not ascend"
        assert np.isin(left, whole).all(), f"{name} that were not there before"
    assert tables.weight.shape == (len(exact.weight), len(tables.taps)), "one column of weights per tap"
    assert tables.weight.dtype == np.float32
    assert tables.bias.shape == exact.bias.shape
    assert tables.scale is None or tables.scale.shape == exact.bias.shape
    for values in (tables.weight, tables.bias, tables.scale):
        assert values is None or np.isfinite(values).all()
    filled = {fill.axis: fill.kept for fill in tables.fills}
    assert len(filled) == len(tables.fills), "two fills along one axis"
    for axis in ("rows", "columns"):
        left, whole = getattr(tables, axis), getattr(exact, axis)
        kept = filled.get(axis, np.ones(len(whole), bool))
        np.testing.assert_array_equal(whole[kept], left, f"what the fill calls computed is not what the table computes ({axis})")


def evaluate(tables: Tables, operator: Operator, x: Floats) -> Floats:
    """The computed pixels before fills, residual and activation, summed in float64.

    x: [N, C, H, W] or [N, C, L] for a convolution, giving [N, O, R, Q]; [..., K] for a dense layer, giving [..., O].
    """
    weight = tables.weight.astype(np.float64)
    scale = 1.0 if tables.scale is None else tables.scale.astype(np.float64)
    if operator.kind == "dense":
        return np.asarray(x[..., tables.taps].astype(np.float64) @ weight.T * scale + tables.bias, np.float32)
    group, (_, per_group, kernel_rows, kernel_columns) = operator["group"], operator.constants["weight"].shape
    top, left, bottom, right = operator["pads"]
    x = x if x.ndim == 4 else x[:, :, None]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).astype(np.float64)
    channel, i, j = np.unravel_index(tables.taps, (per_group, kernel_rows, kernel_columns))
    h = tables.rows * operator["strides"][0] + i[:, None] * operator["dilations"][0]  # [T, R]
    w = tables.columns * operator["strides"][1] + j[:, None] * operator["dilations"][1]  # [T, Q]
    sums = []
    for g, filters in enumerate(np.split(weight, group)):
        patches = padded[:, (g * per_group + channel)[:, None, None], h[:, :, None], w[:, None, :]]  # [N, T, R, Q]
        sums.append(np.einsum("ot,ntrq->norq", filters, patches))
    y = np.concatenate(sums, axis=1)
    return np.asarray(y * np.reshape(scale, (-1, 1, 1)) + tables.bias[:, None, None], np.float32)
