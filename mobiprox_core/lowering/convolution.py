"""Convolutions and dense layers: tables in, packed weights and launches out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import prod

import numpy as np
import numpy.typing as npt

from ..graph import Graph, Operator
from ..program import PLAIN, Instance
from ..tables import Fill, Form, Tables
from .builder import NO_ACTIVATION, Builder, activation_row, row_by_row, with_forms
from .views import BUFFER_SHIFT, Ints, Layout, View, four
from .ways import Way, depthwise_ways, product_ways


def reach(op: Operator, graph: Graph) -> tuple[int, int, int, int]:
    """What the taps of a convolution reach beyond its input, on every side."""
    _, _, height, width = four(graph.shape(op.inputs[0]))
    _, _, rows, columns = four(graph.shape(op.output))
    kernel = op.constants["weight"].shape[2:]
    top, left, _, _ = op["pads"]
    far = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip((rows, columns), op["strides"], kernel, op["dilations"], strict=True)]
    return top, left, max(0, far[0] - top - height), max(0, far[1] - left - width)


def exact_tables(op: Operator, graph: Graph) -> Tables:
    """Everything computed, every filter element kept."""
    weight = op.constants["weight"]
    _, _, rows, columns = four(graph.shape(op.output)) if op.kind == "conv" else (1, 1, 1, 1)
    flat = weight.reshape(weight.shape[0], -1)
    return Tables(np.arange(rows), np.arange(columns), np.arange(flat.shape[1]), flat, op.constants["bias"])


def geometry(tables: Tables) -> str:
    """A digest of all that is in tables but the values of weights, bias, scale and what fills read."""
    lines = [tables.rows, tables.columns, tables.taps, *(fill.kept for fill in tables.fills)]
    words = (tables.storage.name, tables.scale is None, *((fill.function, fill.axis) for fill in tables.fills))
    digest = sha256(repr(words).encode())
    for line in lines:
        digest.update(repr((line.dtype.str, line.shape)).encode() + line.tobytes())
    return digest.hexdigest()


def emit_tables(b: Builder, op: Operator, tables: Tables) -> None:
    """Launches of a convolution or dense layer under edited tables: storage conversion, the sum, fills, finish."""
    storage = tables.storage
    tables = tables if tables.encode is None else tables.encode(tables)
    read = _conv_input(b, op, tables) if op.kind == "conv" else _dense_input(b, op)
    layout = b.output.layout
    assert layout is not None
    fills = sorted(tables.fills, key=lambda fill: fill.axis)  # columns, then rows: the first works on computed rows only
    ends = _ends(b, op, any_form=storage.finish is None and all(fill.any_form for fill in fills[-1:]))
    inner, activation = (_Ends(b.output.origin), NO_ACTIVATION) if fills else (ends, activation_row(op.activation))
    at_output = at_residual = _output_pixels(layout, tables)
    residual_row = (-1, 0)
    if inner.residual is not None:
        at_residual, residual_row = _output_pixels(inner.residual, tables), (inner.residual_origin, inner.residual.strides[1])
    work = _Sum(
        b,
        op,
        tables,
        read,
        np.stack([read.pixels, at_output, at_residual]),
        (inner.origin, layout.strides[1], *residual_row, *activation),
        inner.writes,
        inner.adds,
    )
    first = len(b.launches)
    shares = None
    if op.kind == "conv" and is_depthwise(op):
        work.depthwise()
    else:
        shares = work.products()
    for fill in fills:
        last = fill is fills[-1]
        _emit_fill(b, tables, fill, layout, ends if last else inner, activation_row(op.activation) if last else None, shares)
    if shares is not None:
        b.chain(first, [np.arange(len(shares.fills))[:, None], shares.fills])
    if storage.finish is not None:
        b.launch(storage.finish, *row_by_row(layout, ends.origin, layout, ends.origin))


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where and in which form a result goes, and what is added to it before; residual: its layout, None where nothing is added."""

    origin: int
    writes: Form = PLAIN
    residual: Layout | None = None
    residual_origin: int = -1
    adds: Form = PLAIN


def _ends(b: Builder, op: Operator, any_form: bool) -> _Ends:
    """Of a whole operator. any_form: whether its last function reads and writes what it is told; else float32, converted before and after."""
    residual, layout, adds, first = None, None, b.reads.get("residual", PLAIN), -1
    if op.residual is not None:
        residual = _residual(b, op)
        if not any_form:
            residual, adds = b.restored(residual, adds), PLAIN
        layout = residual.layout
        assert layout is not None
        first = b.stored(residual, adds) + residual.within * adds.element_bytes // 4
    writes, origin = b.target() if any_form else (PLAIN, b.output.origin)
    return _Ends(origin, writes, layout, first, adds)


@dataclass(frozen=True, slots=True)
class _Read:
    """Where a convolution reads: a buffer's start, the offset of every computed pixel's first tap in it, the
    offset of every filter element from there (int64[channels, KH * KW]; dense: [1, K]), and the strides of channel blocks and rows."""

    start: int
    pixels: Ints
    taps: Ints
    block_stride: int = 0
    row_stride: int = 0


def is_depthwise(op: Operator) -> bool:
    weight = op.constants["weight"]
    return bool(op["group"] > 1 and op["group"] == weight.shape[0] and weight.shape[1] == 1)


def _conv_input(b: Builder, op: Operator, tables: Tables) -> _Read:
    view = b.blocked(b.view(op.inputs[0]), reach(op, b.graph), vectors=is_depthwise(op))
    layout = view.layout
    assert layout is not None
    image, plane, row, column = layout.strides
    _, _, kernel_rows, kernel_columns = op.constants["weight"].shape
    c, i, j = np.ix_(np.arange(layout.extent[1]), np.arange(kernel_rows), np.arange(kernel_columns))
    taps = c // layout.block * plane + c % layout.block + i * op["dilations"][0] * row + j * op["dilations"][1] * column
    top, left, _, _ = op["pads"]
    n, h, w = np.ix_(np.arange(layout.extent[0]), tables.rows, tables.columns)
    pixels = view.within + n * image + (h * op["strides"][0] - top) * row + (w * op["strides"][1] - left) * column
    start = b.stored(view, b.reads.get("input", PLAIN))
    return _Read(start, pixels.ravel(), taps.reshape(layout.extent[1], -1), plane, row)


def _dense_input(b: Builder, op: Operator) -> _Read:
    """Rows of features, wherever they lie, as long as the features of all rows lie alike."""
    view = b.view(op.inputs[0])
    if not lies_for_dense(view):
        copy = View(view.shape, b.scratch(prod(view.shape)), Layout((1, 1, 1, prod(view.shape)), 1))
        b.gather(view.elements().ravel(), copy.elements().ravel())
        view = copy
    elements = view.elements().reshape(-1, view.shape[-1])
    buffer = int(elements[0, 0]) >> BUFFER_SHIFT << BUFFER_SHIFT
    start = b.stored(replace(view, start=buffer), b.reads.get("input", PLAIN))
    return _Read(start, elements[:, 0] - buffer, elements[:1] - elements[0, 0])


def lies_for_dense(view: View) -> bool:
    """Whether a dense layer reads a tensor as it lies: in one buffer, the features of all rows alike."""
    elements = view.elements().reshape(-1, view.shape[-1])
    return len(view.buffers) == 1 and bool((elements - elements[:, :1] == elements[:1] - elements[0, 0]).all())


def lies_like(view: View, output: View) -> bool:
    """Whether a residual lies like what it is added to, but for the halo."""
    have, wanted = view.layout, output.layout
    return have is not None and wanted is not None and (have.extent, have.block) == (wanted.extent, wanted.block)


def _residual(b: Builder, op: Operator) -> View:
    """The residual, laid out like the output."""
    assert op.residual is not None
    view, wanted = b.view(op.residual), b.output.layout
    assert wanted is not None
    if lies_like(view, b.output):
        return view
    layout = replace(wanted, halo=(0, 0, 0, 0))
    copy = View((layout.extent[0] * layout.extent[1] * layout.extent[2] * layout.extent[3],), b.scratch_in(layout), layout)
    b.gather(view.elements().ravel(), copy.elements())
    return copy


def _output_pixels(layout: Layout, tables: Tables) -> Ints:
    """Offset of every computed pixel from element 0."""
    image, _, row, column = layout.strides
    n, h, w = np.ix_(np.arange(layout.extent[0]), tables.rows, tables.columns)
    return np.asarray(n * image + h * row + w * column).ravel()


STRIP_COST = 0.25
"""What a strip costs beside its tiles, in tiles."""
NEARLY = 1.02


@dataclass(frozen=True, slots=True)
class _Shares:
    """Which units of the fill the units of the sum run when both are fused: int[units, count]. Each owns `width` positions across the
    lines, of which there are `strips`."""

    fills: Ints
    width: int
    strips: int


@dataclass(frozen=True, slots=True)
class _Sum:
    """The sum over taps: packs tables and weights, chooses the register tile, and launches."""

    b: Builder
    op: Operator
    tables: Tables
    read: _Read
    pixels: Ints  # [3, P]: input, output, residual
    target: tuple[int, ...]  # descriptor entries 9-17
    writes: Form
    added: Form  # of the residual

    def products(self) -> _Shares | None:
        """The general convolution: panels of output channels, each with its own taps."""
        device, outputs = self.b.device, len(self.tables.weight)
        vectors = -(-outputs // device.vector)
        way = self._choose(product_ways(device, self.pixels.shape[1], vectors, len(self.tables.fills)))
        template, mr, nr = way.template, way.pixels, way.vectors
        lanes = nr * device.vector
        panels = -(-vectors // nr)
        entries = []
        for panel in range(panels):
            taps, weight = granules(*self._panel(panel * lanes, min(outputs, (panel + 1) * lanes)), self.tables.storage.granule)
            padded = np.pad(taps, (0, -len(taps) % mr if template == "dense" else 0), mode="edge")
            packed = np.zeros((len(padded), lanes, weight.shape[2]), dtype=np.float32)
            packed[: len(taps), : weight.shape[1]] = weight
            entries.append((self.b.table(padded, "taps"), len(padded), self._weights(packed, f"weight{panel}")))
        panel_table = self.b.constant(np.array(entries, dtype=np.int32), "panels")
        shares = self._shares(way, panels) if way.fused else None
        self._launch(way, (("MR", mr), ("NR", nr)), 1 if template == "dense" else mr, panels, panels * nr, panel_table, shares=shares)
        return shares

    def depthwise(self) -> None:
        """One filter per channel: a tap is a vector of channels."""
        device, tables = self.b.device, self.tables
        channels, count = tables.weight.shape
        vectors = -(-channels // device.vector)
        packed = np.zeros((vectors * device.vector, count), dtype=np.float32)
        packed[:channels] = tables.weight
        packed = packed.reshape(vectors, device.vector, count, 1).transpose(0, 2, 1, 3)
        taps = self.b.table(self.read.taps[0][tables.taps], "taps")
        weights = self._weights(packed, "weight")
        way = self._choose(depthwise_ways(device, self._whole_rows()))
        if way.template == "depthwise3x3":
            columns, step = len(tables.columns), self.op["strides"][1]
            more = (columns, weights, self.read.block_stride, self.read.row_stride)
            self._launch(way, (("STEP", step),), columns, vectors, vectors, taps, *more)
        else:
            self._launch(way, (("MR", way.pixels),), way.pixels, vectors, vectors, taps, count, weights, self.read.block_stride)

    def _whole_rows(self) -> bool:
        """Whether neighbouring columns can share inputs: 3x3 with all taps, and columns side by side."""
        op, tables = self.op, self.tables
        return (
            op.constants["weight"].shape[2:] == (3, 3)
            and tuple(op["dilations"]) == (1, 1)
            and op["strides"][1] in (1, 2)
            and len(tables.taps) == 9
            and len(tables.columns) >= 4
            and bool((np.diff(tables.columns) == 1).all())
        )

    def _choose(self, legal: Sequence[Way]) -> Way:
        """The way that was chosen for this shape."""
        op, output, weight = self.op, self.b.output.layout, self.op.constants["weight"]
        what = (op.kind, weight.shape, op.attributes.get("strides"), op.attributes.get("dilations"), op.residual is not None)
        shape = geometry(replace(self.tables, scale=None))  # a correction's scale is as good as none
        words = (*what, output, self.pixels.shape[1], self.read.row_stride, shape, self.writes.kind, self.added.kind)
        return self.b.choose(sha256(repr(words).encode()).hexdigest()[:24], legal)

    def _shares(self, way: Way, panels: int) -> _Shares:
        """Strips along the fill's axis: of those that leave the busiest thread (nearly) the least to do the narrowest, which stays in the
        first cache."""
        assert self.b.output.layout is not None
        images, threads = self.b.output.layout.extent[0], self.b.device.threads
        (fill,) = self.tables.fills
        lines, across = len(self.tables.rows), len(self.tables.columns)
        if fill.axis == "columns":
            lines, across = across, lines

        def tiles(width: int) -> float:
            units = panels * images * -(-across // width)
            return -(-units // threads) * (-(-lines * width // way.pixels) + STRIP_COST)

        least = min(map(tiles, range(1, across + 1)))
        width = next(w for w in (*range(way.pixels, across + 1), *range(min(way.pixels - 1, across), 0, -1)) if tiles(w) <= NEARLY * least)
        strips = -(-across // width)
        panel, image, vector, strip = np.ix_(np.arange(panels), np.arange(images), np.arange(way.vectors), np.arange(strips))
        fills = (image * panels * way.vectors + panel * way.vectors + vector) * strips + strip
        return _Shares(fills.transpose(0, 1, 3, 2).reshape(-1, way.vectors), width, strips)

    def _launch(
        self,
        way: Way,
        macros: tuple[tuple[str, int], ...],
        tile: int,
        panels: int,
        vectors: int,
        table: int,
        *more: int,
        shares: _Shares | None = None,
    ) -> None:
        """tile: pixels that one step of the function computes. panels: units beside each other; vectors: of output channels, padded."""
        instance = Instance(way.template, macros, self.tables.storage, self.added.kind, self.writes.kind)
        self.b.instances.add(instance)
        tiles, per_unit, across, pixels, length = (
            self._pixel_table(tile, panels, way.units) if shares is None else self._strip_table(tile, shares)
        )
        constants = self._epilogue_constants(vectors * self.b.device.vector)
        row = (tiles, per_unit, across, pixels, length, table, *constants, self.read.start, *self.target, *more)
        self.b.launch(instance.name, panels * across, with_forms(row, self.writes, self.added))

    def _weights(self, packed: npt.NDArray[np.float32], name: str) -> int:
        """packed: [..., granule]."""
        pack = self.tables.storage.pack
        return self.b.constant(packed[..., 0] if pack is None else pack(np.ascontiguousarray(packed)), name)

    def _panel(self, first: int, last: int) -> tuple[Ints, npt.NDArray[np.float32]]:
        """Taps and weights of output channels first..last-1, taps in the order in which they lie in memory."""
        tables, offsets, group = self.tables, self.read.taps, self.op.attributes.get("group", 1)
        weight = tables.weight[first:last]
        if group == 1:
            taps = offsets.ravel()[tables.taps]
        else:
            positions = offsets.shape[1]
            per_group_in, per_group_out = len(offsets) // group, len(tables.weight) // group
            groups = range(first // per_group_out, (last - 1) // per_group_out + 1)
            blocks = []
            for g in groups:  # channels of several groups in one panel: each group's taps, with zeros for the others
                rows = np.arange(first, last)
                blocks.append(np.where((rows // per_group_out == g)[:, None], weight, 0.0))
            weight = np.concatenate(blocks, axis=1)
            taps = np.concatenate([offsets[g * per_group_in + tables.taps // positions, tables.taps % positions] for g in groups])
        order = np.argsort(taps, kind="stable")
        return taps[order], np.ascontiguousarray(weight[:, order], dtype=np.float32)

    def _epilogue_constants(self, lanes: int) -> tuple[int, int]:
        """Bias and scale per lane."""
        pad = lanes - len(self.tables.bias)
        bias = self.b.constant(np.pad(self.tables.bias.astype(np.float32), (0, pad)), "bias")
        scale = self.tables.scale
        return bias, -1 if scale is None else self.b.constant(np.pad(scale.astype(np.float32), (0, pad)), "scale")

    def _pixel_table(self, tile: int, panels: int, per_thread: int) -> tuple[int, int, int, int, int]:
        """Tiles, tiles per unit, units per panel, the table's offset and its length. The last pixel fills up the last tile."""
        device, count = self.b.device, self.pixels.shape[1]
        tiles = -(-count // tile)
        padded = np.concatenate([self.pixels, np.repeat(self.pixels[:, -1:], tiles * tile - count, axis=1)], axis=1)
        units = per_thread * device.threads if device.kind == "cpu" else tiles * panels
        per_unit = max(1, tiles * panels // units)
        return tiles, per_unit, -(-tiles // per_unit), self.b.table(padded, "pixels"), padded.shape[1]

    def _strip_table(self, tile: int, shares: _Shares) -> tuple[int, int, int, int, int]:
        """The same, where a unit owns a strip of an image: its pixels come one after another and fill whole tiles."""
        tables = self.tables
        pixels = self.pixels.reshape(3, -1, len(tables.rows), len(tables.columns))
        axis = 3 if tables.fills[0].axis == "rows" else 2
        parts = [
            part.reshape(3, -1)
            for image in range(pixels.shape[1])
            for part in np.array_split(pixels[:, image : image + 1], range(shares.width, pixels.shape[axis], shares.width), axis=axis)
        ]
        per_unit = -(-max(part.shape[1] for part in parts) // tile)
        strips = [np.pad(part, ((0, 0), (0, per_unit * tile - part.shape[1])), mode="edge") for part in parts]
        table = np.concatenate(strips, axis=1)
        return per_unit * len(strips), per_unit, len(strips), self.b.table(table, "pixels"), table.shape[1]


def granules(taps: Ints, weight: npt.NDArray[np.float32], size: int) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Taps (ascending) and weights [O, T] as groups of at most `size` neighbouring elements: the first of each, and weights [T', O, size].

    What a group reads beside its taps has weight zero.
    """
    firsts: list[int] = []
    for tap in taps.tolist() if size > 1 else []:
        if not firsts or tap >= firsts[-1] + size:
            firsts.append(tap)
    if size == 1:
        return taps, np.ascontiguousarray(weight.T)[:, :, None]
    starts = np.array(firsts, dtype=np.int64)
    group = np.searchsorted(starts, taps, side="right") - 1
    grouped = np.zeros((len(starts), len(weight), size), dtype=np.float32)
    grouped[group, :, taps - starts[group]] = weight.T
    return starts, grouped


def _emit_fill(
    b: Builder, tables: Tables, fill: Fill, layout: Layout, ends: _Ends, last: tuple[int, ...] | None, shares: _Shares | None
) -> None:
    """One pass that computes skipped lines; see kernels/README.md for its row. last: the activation, which the last one applies."""
    axis, across = (2, 3) if fill.axis == "rows" else (3, 2)
    positions = np.arange(layout.extent[3]) if fill.axis == "rows" else tables.rows
    per_unit = max(1, len(positions) // (4 * b.device.threads)) if b.device.kind == "cpu" else 1
    if shares is not None:
        per_unit = shares.width
    chunks = -(-len(positions) // per_unit)
    vectors = -(-layout.extent[1] // b.device.vector)
    residual_row: tuple[int, ...] = (-1, 0, 0, 0, 0)
    if ends.residual is not None:
        strides = ends.residual.strides
        residual_row = (ends.residual_origin, *strides[:2], strides[axis], b.table(positions * strides[across], "residual"))
    kept = b.constant(np.array([len(fill.kept), *fill.kept], dtype=np.int32), "kept")
    at = b.table(positions * layout.strides[across], "across")
    lanes = vectors * b.device.vector
    constants = -1
    if fill.constants is not None:
        constants = b.constant(np.pad(fill.constants, ((0, 0), (0, lanes - fill.constants.shape[1]))), "fill")
    row: tuple[int, ...] = (
        *(kept, layout.strides[axis], at, len(positions), per_unit, chunks, b.output.origin, layout.strides[0], vectors, layout.strides[1]),
        *(int(last is not None), *residual_row, *(last or NO_ACTIVATION), constants, lanes),
    )
    function = fill.function
    if fill.any_form:
        instance = Instance(function, reads=ends.adds.kind, writes=ends.writes.kind)
        b.instances.add(instance)
        function, row = function + instance.suffix, with_forms((*row, ends.origin), ends.writes, ends.adds)
    b.launch(function, layout.extent[0] * vectors * chunks, row)
