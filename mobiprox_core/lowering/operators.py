"""The other operators: launches of their exact functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from ..graph import Graph, Operator
from ..program import PLAIN, Instance
from .builder import NO_ACTIVATION, Builder, activation_row, row_by_row, with_forms
from .convolution import emit_tables, exact_tables
from .views import View, four


def _through(b: Builder, op: Operator, function: str, extra: Sequence[int] = (), second: View | None = None) -> None:
    """Launch a row-by-row function from the first input to the output."""
    source, output = b.blocked(b.view(op.inputs[0])), b.output
    assert source.layout is not None
    assert output.layout is not None
    form, origin = b.target()
    units, row = row_by_row(source.layout, source.origin, output.layout, origin)
    tail: tuple[int, ...] = ()
    if second is not None:
        assert second.layout is not None
        tail = (second.origin, *second.layout.strides[:3])
    instance = Instance("elementwise", writes=form.kind)
    b.instances.add(instance)
    b.launch(function + instance.suffix, units, with_forms((*row, *activation_row(op.activation), *(extra or (-1,)), *tail), form))


def same_layout(operator: Operator, graph: Graph, views: Mapping[str, View], block: int) -> bool:
    """Whether an element-wise operator can go through its inputs row by row: activations of one shape, in channel blocks."""
    layouts = [views[name].layout if name in views else None for name in operator.inputs]
    extent = four(graph.shape(operator.output))
    return all(layout is not None and (layout.block, layout.extent) == (block, extent) for layout in layouts)


def _activation(b: Builder, op: Operator) -> None:
    _through(b, op, "activation")


def _affine(b: Builder, op: Operator) -> None:
    block = b.device.block
    pad = -len(op.constants["scale"]) % block
    scale, shift = (np.pad(op.constants[name], (0, pad)).reshape(-1, 1, block) for name in ("scale", "shift"))
    _through(b, op, "affine", [b.constant(np.concatenate([scale, shift], axis=1).astype(np.float32), "affine")])


_OPERATIONS = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}


def _binary(b: Builder, op: Operator) -> None:
    function = _OPERATIONS[op["op"]]
    if same_layout(op, b.graph, b.views, b.device.block):
        _through(b, op, function, second=b.view(op.inputs[1]))
        return
    shape = b.output.shape
    first, second = (np.broadcast_to(b.view(name).elements(), shape).ravel() for name in op.inputs)
    count = first.size
    per_unit = b.share(count, 256)
    tables = (b.table(b.output.elements().ravel(), "to"), b.table(first, "first"), b.table(second, "second"))
    b.launch(f"table_{function}", -(-count // per_unit), (count, per_unit, *tables, *activation_row(op.activation)))


def _pool(b: Builder, op: Operator) -> None:
    source, output = b.blocked(b.view(op.inputs[0])), b.output
    assert source.layout is not None
    assert output.layout is not None
    target, (top, left, bottom, right) = output.layout, op["pads"]
    read = b.reads.get("input", PLAIN)
    first = b.stored(source, read) + source.within * read.element_bytes // 4
    written, origin = b.target()
    row = (
        *(first, *source.layout.strides[:3], origin, *target.strides[:3]),
        *(target.blocks, target.extent[2], target.extent[3], *source.layout.extent[2:]),
        *(*op["kernel"], *op["strides"], top, left, *op["dilations"], int(op.attributes.get("count_include_pad", False))),
        *activation_row(op.activation),
        *(bottom, right),
    )
    instance = Instance("pool", reads=read.kind, writes=written.kind)
    b.instances.add(instance)
    b.launch(f"pool_{op['op']}{instance.suffix}", target.extent[0] * target.blocks * target.extent[2], with_forms(row, written, read))


def _rows(b: Builder, op: Operator, function: str, view: View, axes: Sequence[int], scalar: bool) -> None:
    """Launch a function per row, a row being what lies along `axes`."""
    kept = [axis for axis in range(len(view.shape)) if axis not in axes]
    elements = view.elements().transpose([*kept, *axes])
    outer, length = prod(view.shape[a] for a in kept), prod(view.shape[a] for a in axes)
    grid = elements.reshape(outer, length)
    steps, strides = np.diff(grid, axis=1), np.diff(grid[:, 0])
    if (steps != 1).any() or (strides.size and (strides != strides[0]).any()):
        start = b.scratch(grid.size)
        b.gather(grid.ravel(), start + np.arange(grid.size, dtype=np.int64))
        source, stride = start, length
    else:
        source, stride = int(grid[0, 0]), int(strides[0]) if strides.size else length
    if scalar:
        b.launch(function, outer, (source, b.output.origin, length, *activation_row(op.activation), stride, 1))
        return
    target = b.output.elements().transpose([*kept, *axes]).reshape(outer, length)
    direct = bool((np.diff(target, axis=1) == 1).all())
    place = b.output.origin if direct else b.scratch(grid.size)
    b.launch(function, outer, (source, place, length, *NO_ACTIVATION, stride, length))
    if not direct:
        b.gather(place + np.arange(grid.size, dtype=np.int64), target.ravel())


def _softmax(b: Builder, op: Operator) -> None:
    view = b.view(op.inputs[0])
    _rows(b, op, "log_softmax" if op["log"] else "softmax", view, [op["axis"] % len(view.shape)], scalar=False)


def _reduce_mean(b: Builder, op: Operator) -> None:
    _rows(b, op, "mean", b.view(op.inputs[0]), op["axes"], scalar=True)


def _matmul(b: Builder, op: Operator) -> None:
    left, right = (b.view(name) for name in op.inputs)
    a, c = left.elements(), right.elements()
    a = a[None, :] if a.ndim == 1 else a
    c = c[:, None] if c.ndim == 1 else c
    (rows, inner), columns = a.shape[-2:], c.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], c.shape[:-2])
    at_left = np.broadcast_to(np.arange(prod(a.shape[:-2])).reshape(a.shape[:-2]), batch).ravel() * rows * inner
    at_right = np.broadcast_to(np.arange(prod(c.shape[:-2])).reshape(c.shape[:-2]), batch).ravel() * inner * columns
    offsets = b.table(np.stack([at_left, at_right], axis=1), "products")
    row = (*map(b.plain, op.inputs), b.output.origin, rows, inner, columns, *activation_row(op.activation), offsets)
    b.launch("matmul", prod(batch) * rows, row)


def _tables(b: Builder, op: Operator) -> None:
    emit_tables(b, op, exact_tables(op, b.graph))


EMIT: Mapping[str, Callable[[Builder, Operator], None]] = {
    "conv": _tables,
    "dense": _tables,
    "matmul": _matmul,
    "binary": _binary,
    "affine": _affine,
    "activation": _activation,
    "pool": _pool,
    "softmax": _softmax,
    "reduce_mean": _reduce_mean,
}
