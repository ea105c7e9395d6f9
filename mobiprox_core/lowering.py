"""Graph + settings + device -> execution plan.

Tensors are *views*: an address for every element. What only moves elements (reshape, transpose, slice, concat, pad) is NumPy on
addresses and costs nothing until somebody needs the result in one piece; then one gather makes it so.

An address is an integer: buffer << 40 | element. Buffer 0 is the constants' region, whose offsets are final; the others are
placed when all operators are known, and every address in rows and tables is resolved then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .configuration import EXACT, Configuration, OpId, Setting
from .errors import InfeasibleSetting, LoweringError
from .graph import Activation, Graph, Operator, Shape
from .interfaces import Statistics, Technique
from .plan import ROW_INTS, Constant, DeviceInfo, ExecutionPlan, Launch, PlanOperator, Slot, Variant
from .program import Instance, assemble
from .tables import Fill, KernelSource, Tables

BUFFER_SHIFT = 40
ALIGNMENT = 16
"""Elements: 64 bytes, a cache line and the widest vector."""

Ints = npt.NDArray[np.int64]
Extent = tuple[int, int, int, int]


def lower(
    graph: Graph,
    device: DeviceInfo,
    techniques: Mapping[str, Technique],
    settings: Mapping[OpId, Sequence[Setting]],
    levels: Sequence[Configuration] = (),
    *,
    keep_activations: bool = False,
    statistics: Callable[[OpId], Statistics | None] = lambda op: None,
) -> ExecutionPlan:
    """The plan that holds, for every operator, its exact variant and one variant per setting.

    settings: per operator what to offer beside exact, in this order; settings that `levels` use are added. levels: configurations
    to switch between; level 0, exact, is put in front unless it is there. keep_activations: no activation shares memory with another,
    so that a runner can resume from any operator.

    Raises InfeasibleSetting where a setting means nothing for its operator, LoweringError for an unknown operator or technique.
    """
    return _Lowering(graph, device, techniques, statistics, keep_activations).plan(settings, levels)


# ---------------------------------------------------------------------------------------------------------------------------- views


@dataclass(frozen=True, slots=True)
class Layout:
    """Elements (n, c, h, w) at origin + n*strides[0] + (c//block)*strides[1] + h*strides[2] + w*strides[3] + c%block.

    halo: rows and columns stored around every plane (top, left, bottom, right); zero, and never written.
    """

    extent: Extent
    block: int
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def blocks(self) -> int:
        return -(-self.extent[1] // self.block)

    @property
    def strides(self) -> Extent:
        _, _, height, width = self.extent
        top, left, bottom, right = self.halo
        row = (width + left + right) * self.block
        plane = (height + top + bottom) * row
        return self.blocks * plane, plane, row, self.block

    @property
    def size(self) -> int:
        return self.extent[0] * self.strides[0]

    @property
    def origin(self) -> int:
        """Of element 0, from the start of the buffer."""
        return self.halo[0] * self.strides[2] + self.halo[1] * self.strides[3]

    def offsets(self) -> Ints:
        """int64[N, C, H, W], from element 0."""
        n, c, h, w = (np.arange(length, dtype=np.int64) for length in self.extent)
        image, plane, row, column = self.strides
        channels = c // self.block * plane + c % self.block
        return (n * image)[:, None, None, None] + channels[:, None, None] + (h * row)[:, None] + w * column


def four(shape: Shape) -> Extent:
    """A logical shape as (N, C, H, W): missing spatial axes are 1, [N, C, L] is [N, C, 1, L]; axes between are merged."""
    match shape:
        case ():
            return 1, 1, 1, 1
        case (n,):
            return n, 1, 1, 1
        case (n, c):
            return n, c, 1, 1
        case (n, c, *rest, w):
            return n, c, prod(rest), w
    raise AssertionError(shape)


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: either a whole buffer in a layout, or an address per element."""

    shape: Shape
    start: int = 0
    layout: Layout | None = None
    addresses: Ints | None = None

    @property
    def origin(self) -> int:
        assert self.layout is not None
        return self.start + self.layout.origin

    def elements(self) -> Ints:
        """int64[shape], the address of every element."""
        if self.addresses is not None:
            return self.addresses
        assert self.layout is not None
        return (self.origin + self.layout.offsets()).reshape(self.shape)

    def moved(self, addresses: Ints) -> View:
        return View(tuple(addresses.shape), addresses=np.ascontiguousarray(addresses))


@dataclass(slots=True)
class _Buffer:
    size: int
    shareable: Any  # buffers of equal geometry may share memory; None: with none
    first: int = 0
    last: int = -1
    base: int = -1


# -------------------------------------------------------------------------------------------------------------------------- builder


@dataclass(slots=True)
class Builder:
    """How one operator's launches are emitted. Techniques that replace a whole operator (`Technique.lower`) are handed one.

    `launch` appends; `constant`, `scratch`, `view` and `output` give addresses that rows may hold.
    """

    lowering: _Lowering
    operator: Operator
    launches: list[tuple[str, int, tuple[int, ...]]] = field(default_factory=list)
    scratched: dict[Layout, int] = field(default_factory=dict)

    @property
    def device(self) -> DeviceInfo:
        return self.lowering.device

    @property
    def graph(self) -> Graph:
        return self.lowering.graph

    def launch(self, function: str, units: int, row: Iterable[int]) -> None:
        ints = tuple(int(i) for i in row)
        assert len(ints) <= ROW_INTS, f"{function}: {len(ints)} descriptor entries"
        self.launches.append((function, int(units), ints))

    def constant(self, values: npt.ArrayLike, name: str) -> int:
        """Offset of an array that the plan carries; equal arrays are stored once."""
        return self.lowering.constant(np.asarray(values), f"{self.operator.name}/{name}")

    def table(self, addresses: Ints, name: str) -> int:
        """Offset of an int32 table of addresses (or plain offsets)."""
        return self.lowering.table(addresses, f"{self.operator.name}/{name}")

    def scratch(self, elements: int) -> int:
        """Address of memory that is free while this operator runs; its variants share it."""
        return self._scratch(Layout((1, 1, 1, elements), 1))

    def _scratch(self, layout: Layout) -> int:
        used = self.scratched.setdefault(layout, 0)
        self.scratched[layout] += 1
        return self.lowering.scratch_buffer(layout, used)

    def view(self, name: str) -> View:
        """Where an input (or the residual) lies."""
        if name in self.operator.constants:
            values = np.ascontiguousarray(self.operator.constants[name], dtype=np.float32)
            start = self.constant(values, name)
            return View(values.shape, addresses=start + np.arange(values.size, dtype=np.int64).reshape(values.shape))
        return self.lowering.views[name]

    @property
    def output(self) -> View:
        return self.lowering.views[self.operator.output]

    def exact(self, operator: Operator) -> None:
        """Emit the launches of the exact operator."""
        _EMIT[operator.kind](self, operator)

    # -- moving data

    def gather(self, source: Ints, target: Ints) -> None:
        """Copy single elements from addresses to addresses."""
        count = source.size
        per_unit = self.share(count, 256)
        row = (count, per_unit, self.table(target.ravel(), "to"), self.table(source.ravel(), "from"))
        self.launch("gather", -(-count // per_unit), row)

    def plain(self, name: str) -> int:
        """Address of an input as a row-major array, copied if it does not lie so."""
        elements = self.view(name).elements().ravel()
        if elements.size == 0 or bool((np.diff(elements) == 1).all()):
            return int(elements[0]) if elements.size else 0
        start = self.scratch(elements.size)
        self.gather(elements, start + np.arange(elements.size, dtype=np.int64))
        return start

    def blocked(self, view: View, halo: tuple[int, int, int, int] = (0, 0, 0, 0), vectors: bool = True) -> View:
        """The tensor in a layout with at least this halo, in channel blocks if `vectors`; copied if it does not lie so."""
        layout = view.layout
        if (
            layout is not None
            and layout.extent == four(view.shape)
            and (layout.block == self.device.block or not vectors)
            and all(have >= need for have, need in zip(layout.halo, halo, strict=True))
        ):
            return view
        wanted = Layout(four(view.shape), self.device.block, halo)
        copy = View(view.shape, self._scratch(wanted), wanted)
        self.gather(view.elements(), copy.elements())
        return copy

    def share(self, count: int, least: int) -> int:
        """How many of `count` small things one unit should do, so that there is enough to share out."""
        return max(least, -(-count // (8 * self.device.threads))) if self.device.kind == "cpu" else 1


def activation_row(activation: Activation | None) -> tuple[int, ...]:
    """The five descriptor entries that `ACTIVATE` reads."""
    codes = {"clip": 0, "relu": 0, "leaky_relu": 1, "sigmoid": 2, "tanh": 3, "hard_sigmoid": 4, "hard_swish": 5}
    a = activation or Activation("clip")
    if a.kind == "relu":
        a = Activation("clip", low=0.0)
    bits = np.array([a.alpha, a.beta, a.low, a.high], dtype=np.float32).view(np.int32)
    return (codes[a.kind], *bits.tolist())


NO_ACTIVATION = activation_row(None)


# ------------------------------------------------------------------------------------------------------------------------- lowering


class _Lowering:
    def __init__(
        self,
        graph: Graph,
        device: DeviceInfo,
        techniques: Mapping[str, Technique],
        statistics: Callable[[OpId], Statistics | None],
        keep_activations: bool,
    ) -> None:
        self.graph = graph
        self.device = device
        self.techniques = techniques
        self.statistics = statistics
        self.keep = keep_activations
        self.views: dict[str, View] = {}
        self.buffers: list[_Buffer] = [_Buffer(0, None)]
        self.constants: list[tuple[str, int, npt.NDArray[Any]]] = []
        self.constant_elements = 0
        self.known: dict[tuple[str, bytes], int] = {}
        self.relocated: list[int] = []
        self.instances: set[Instance] = set()
        self.scratches: dict[tuple[int, Layout, int], int] = {}
        self.step = 0
        self.halos = _halos(graph)

    # -- memory

    def constant(self, values: npt.NDArray[Any], name: str) -> int:
        values = np.ascontiguousarray(values)
        key = (values.dtype.str, sha256(values).digest())
        if key not in self.known:
            self.known[key] = self.constant_elements
            self.constants.append((name, self.constant_elements, values))
            self.constant_elements += -(-values.nbytes // (4 * ALIGNMENT)) * ALIGNMENT
        return self.known[key]

    def table(self, addresses: Ints, name: str) -> int:
        addresses = np.ascontiguousarray(addresses, dtype=np.int64)
        if addresses.size == 0 or int(addresses.max()) < 1 << BUFFER_SHIFT:
            return self.constant(addresses.astype(np.int32), name)
        for buffer in np.unique(addresses >> BUFFER_SHIFT):
            self.touch(int(buffer))
        key = ("addresses", sha256(addresses).digest())
        if key not in self.known:
            self.known[key] = self.constant_elements
            self.relocated.append(len(self.constants))
            self.constants.append((name, self.constant_elements, addresses))
            self.constant_elements += -(-addresses.size // ALIGNMENT) * ALIGNMENT
        return self.known[key]

    def new_buffer(self, elements: int, shareable: Any) -> int:
        """Address of fresh memory, alive from this step on."""
        self.buffers.append(_Buffer(-(-elements // ALIGNMENT) * ALIGNMENT, shareable, self.step, self.step))
        return (len(self.buffers) - 1) << BUFFER_SHIFT

    def scratch_buffer(self, layout: Layout, nth: int) -> int:
        """The operator's nth scratch buffer of a layout: variants never run together, so they share it."""
        key = (self.step, layout, nth)
        if key not in self.scratches:
            self.scratches[key] = self.new_buffer(layout.size, layout)
        return self.scratches[key]

    def touch(self, buffer: int) -> None:
        self.buffers[buffer].last = max(self.buffers[buffer].last, self.step)

    def place(self) -> int:
        """Give every buffer its base; buffers of equal geometry share memory when their lives do not overlap. Returns the arena's size."""
        free: dict[Any, list[tuple[int, int]]] = {}
        top = self.constant_elements
        for buffer in sorted(self.buffers[1:], key=lambda b: b.first):
            pool = free.setdefault((buffer.shareable, buffer.size), [])
            reusable = next((i for i, (_, last) in enumerate(pool) if last < buffer.first), None)
            if reusable is None or self.keep or buffer.shareable is None:
                buffer.base = top
                top += buffer.size
            else:
                buffer.base = pool.pop(reusable)[0]
            pool.append((buffer.base, buffer.last))
        self.buffers[0].base = 0
        return top

    def resolve(self, addresses: Ints) -> npt.NDArray[np.int32]:
        bases = np.array([b.base for b in self.buffers], dtype=np.int64)
        buffer = np.where(addresses < 0, 0, addresses >> BUFFER_SHIFT)
        resolved = np.where(addresses < 1 << BUFFER_SHIFT, addresses, bases[buffer] + (addresses & ((1 << BUFFER_SHIFT) - 1)))
        if resolved.size and (resolved.max() >= 1 << 31):
            raise LoweringError("the network needs more than 8 GB", mend="use a smaller batch, or fewer settings at once")
        return resolved.astype(np.int32)

    # -- the plan

    def plan(self, settings: Mapping[OpId, Sequence[Setting]], levels: Sequence[Configuration]) -> ExecutionPlan:
        graph = self.graph
        names = {op.name for op in graph.operators}
        for op in [*settings, *(op for level in levels for op in level.settings)]:
            if op not in names:
                raise LoweringError(
                    f"network '{graph.name}' has no operator called '{op}'", mend=f"its operators are: {', '.join(sorted(names))}"
                )
        configurations = list(levels)
        if not configurations or configurations[0].settings:
            configurations.insert(0, Configuration({}))
        offered = {
            op.name: (EXACT, *dict.fromkeys(s for s in [*settings.get(op.name, ()), *(c[op.name] for c in configurations)] if s != EXACT))
            for op in graph.operators
        }
        inputs = [self._input(spec.name, spec.shape) for spec in graph.inputs]
        emitted: list[list[Builder]] = []
        for operator in graph.operators:
            self.step += 1
            self.views[operator.output] = self._output(operator)
            emitted.append([self._variant(operator, setting) for setting in offered[operator.name]])
        self.step += 1
        outputs, tail = self._outputs()
        if tail is not None:
            emitted.append([tail])

        kept = [self._slot(name, view) for name, view in self.views.items() if view.layout is not None] if self.keep else []
        arena = self.place()
        source, functions = assemble(
            self.device,
            (function for variants in emitted for builder in variants for function, _, _ in builder.launches),
            self.instances,
            self._sources(),
        )
        operators = tuple(
            PlanOperator(
                variants[0].operator.name,
                variants[0].operator.kind,
                tuple(
                    Variant(setting, tuple(self._launch(*launch) for launch in builder.launches))
                    for setting, builder in zip(offered.get(variants[0].operator.name, (EXACT,)), variants, strict=True)
                ),
            )
            for variants in emitted
        )
        index = {name: {s: i for i, s in enumerate(choices)} for name, choices in offered.items()}
        return ExecutionPlan(
            name=graph.name,
            batch=graph.batch,
            device=self.device,
            source=source,
            functions=functions,
            arena_elements=arena,
            constants=tuple(
                Constant(name, offset, self.resolve(values) if i in self.relocated else values)
                for i, (name, offset, values) in enumerate(self.constants)
            ),
            inputs=tuple(map(self._placed, inputs)),
            outputs=tuple(map(self._placed, outputs)),
            operators=operators,
            levels=tuple(tuple(index[o.name][c[o.name]] if o.name in index else 0 for o in operators) for c in configurations),
            tensors=tuple(map(self._placed, kept)),
        )

    def _input(self, name: str, shape: Shape) -> Slot:
        """Inputs are planar (block 1) with the halo that convolutions need: the host's copy is all the packing there is."""
        layout = Layout(four(shape), 1, self.halos.get(name, (0, 0, 0, 0)))
        self.views[name] = View(shape, self.new_buffer(layout.size, None), layout)
        return self._slot(name, self.views[name])

    def _output(self, operator: Operator) -> View:
        shape = self.graph.shape(operator.output)
        if operator.kind == "view":
            return _move(operator, shape, [Builder(self, operator).view(name) for name in operator.inputs], self)
        if operator.kind in ("softmax", "reduce_mean", "matmul") or (operator.kind == "binary" and not self._same_layout(operator)):
            layout = Layout((1, 1, 1, prod(shape)), 1)
        elif operator.kind == "dense":
            layout = Layout((prod(shape[:-1]), shape[-1], 1, 1), self.device.block)
        else:
            layout = Layout(four(shape), self.device.block, self.halos.get(operator.output, (0, 0, 0, 0)))
        return View(shape, self.new_buffer(layout.size, layout), layout)

    def _same_layout(self, operator: Operator) -> bool:
        """Whether an element-wise operator can go through its inputs row by row: activations of one shape, in channel blocks."""
        views = [self.views.get(name) for name in operator.inputs]
        extents = {
            v.layout.extent if v is not None and v.layout is not None and v.layout.block == self.device.block else None for v in views
        }
        return len(extents) == 1 and extents == {four(self.graph.shape(operator.output))}

    def _variant(self, operator: Operator, setting: Setting) -> Builder:
        builder = Builder(self, operator)
        for name in operator.reads:
            for buffer in _buffers(self.views[name]):
                self.touch(buffer)
        if operator.kind == "view":
            return builder
        parts = [(self._technique(part.technique), part) for part in setting]
        slots = [technique.slot(part) for technique, part in parts]
        if len(set(slots)) != len(slots):
            raise InfeasibleSetting(f"{operator.name}: '{setting}' sets one thing twice")
        try:
            if any(technique.lower(part, operator, builder) for technique, part in parts):
                if len(parts) > 1:
                    raise InfeasibleSetting(f"'{setting}': one of them replaces the whole operator and composes with nothing")
                return builder
            if parts and operator.kind not in ("conv", "dense"):
                raise InfeasibleSetting(f"'{setting}' does not apply to an operator of kind '{operator.kind}'")
            if operator.kind in ("conv", "dense"):
                tables = exact_tables(operator, self.graph)
                statistics = self.statistics(operator.name) if parts else None
                for technique, part in parts:
                    fitted = technique.prepare(part, operator, statistics)
                    tables = technique.edit(part, operator, tables, self.device, fitted)
                emit_tables(builder, operator, tables)
            else:
                builder.exact(operator)
        except InfeasibleSetting as fault:
            raise InfeasibleSetting(fault.what, where=f"operator '{operator.name}'", mend=fault.mend) from fault
        return builder

    def _technique(self, name: str) -> Technique:
        if name not in self.techniques:
            raise LoweringError(f"no technique is called '{name}'", mend=f"at hand are: {', '.join(sorted(self.techniques)) or 'none'}")
        return self.techniques[name]

    def _outputs(self) -> tuple[list[Slot], Builder | None]:
        """Slots of the network's outputs; what does not lie in a buffer of its own is gathered by a last, nameless operator."""
        tail = Builder(self, Operator("(outputs)", "view", (), ""))
        slots = []
        for spec in self.graph.outputs:
            view = self.views[spec.name]
            if view.layout is None or view.start >> BUFFER_SHIFT == 0:
                layout = Layout((1, 1, 1, prod(view.shape)), 1)
                copy = View(view.shape, self.new_buffer(layout.size, None), layout)
                tail.gather(view.elements(), copy.elements())
                view = copy
            self.touch(view.start >> BUFFER_SHIFT)
            slots.append(self._slot(spec.name, view))
        return slots, tail if tail.launches else None

    def _slot(self, name: str, view: View) -> Slot:
        assert view.layout is not None
        return Slot(name, view.shape, view.layout.extent, view.origin, view.layout.strides, view.layout.block)

    def _placed(self, slot: Slot) -> Slot:
        return replace(slot, offset=int(self.resolve(np.array([slot.offset], dtype=np.int64))[0]))

    def _launch(self, function: str, units: int, row: tuple[int, ...]) -> Launch:
        return Launch(function, units, tuple(self.resolve(np.array(row, dtype=np.int64)).tolist()))

    def _sources(self) -> list[KernelSource]:
        return [source for _, technique in sorted(self.techniques.items()) for source in technique.kernels(self.device)]


def _buffers(view: View) -> set[int]:
    if view.addresses is None:
        return {view.start >> BUFFER_SHIFT}
    return set(np.unique(view.addresses >> BUFFER_SHIFT).tolist())


def _halos(graph: Graph) -> dict[str, tuple[int, int, int, int]]:
    """How far convolutions read beyond each tensor: rows and columns (top, left, bottom, right)."""
    halos: dict[str, tuple[int, int, int, int]] = {}
    for op in graph.operators:
        if op.kind == "conv":
            need = conv_halo(op, graph)
            halos[op.inputs[0]] = tuple(map(max, zip(need, halos.get(op.inputs[0], need), strict=True)))  # type: ignore[assignment]
    return halos


def conv_halo(op: Operator, graph: Graph) -> tuple[int, int, int, int]:
    """What the taps of a convolution reach beyond its input, on every side."""
    _, _, height, width = four(graph.shape(op.inputs[0]))
    _, _, rows, columns = four(graph.shape(op.output))
    kernel = op.constants["weight"].shape[2:]
    top, left, _, _ = op["pads"]
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip((rows, columns), op["strides"], kernel, op["dilations"], strict=True)]
    return top, left, max(0, reach[0] - top - height), max(0, reach[1] - left - width)


# ------------------------------------------------------------------------------------------------------------------ moving elements


def _move(op: Operator, shape: Shape, inputs: list[View], lowering: _Lowering) -> View:
    """The result of a `view` operator: addresses, rearranged."""
    first = inputs[0]
    if op["op"] == "reshape":
        if first.layout is not None and four(shape) == first.layout.extent:
            return replace(first, shape=shape)
        return first.moved(first.elements().reshape(shape))
    elements = first.elements()
    match op["op"]:
        case "transpose":
            elements = elements.transpose(op["perm"])
        case "slice":
            elements = elements[tuple(slice(*s) for s in op["slices"])]
        case "concat":
            elements = np.concatenate([view.elements() for view in inputs], axis=op["axis"])
        case "expand":
            elements = np.broadcast_to(elements, shape)
        case "pad" if op["mode"] == "constant":
            cell = lowering.constant(np.full(1, op["value"], dtype=np.float32), f"{op.name}/pad")
            elements = np.pad(elements, op["pads"], constant_values=cell)
        case "pad":
            elements = np.pad(elements, op["pads"], mode=op["mode"])
        case other:
            raise LoweringError(f"operator '{op.name}': there is no view called '{other}'")
    assert elements.shape == shape, f"{op.name}: {elements.shape} is not {shape}"
    return first.moved(elements)


# ------------------------------------------------------------------------------------------------- convolutions and dense layers


def exact_tables(op: Operator, graph: Graph) -> Tables:
    """Everything computed, every filter element kept."""
    weight = op.constants["weight"]
    _, _, rows, columns = four(graph.shape(op.output)) if op.kind == "conv" else (1, 1, 1, 1)
    flat = weight.reshape(weight.shape[0], -1)
    return Tables(np.arange(rows), np.arange(columns), np.arange(flat.shape[1]), flat, op.constants["bias"])


def emit_tables(b: Builder, op: Operator, tables: Tables) -> None:
    """Launches of a convolution or dense layer under edited tables: storage conversion, the sum, fills, finish."""
    storage = tables.storage
    read = _conv_input(b, op, tables) if op.kind == "conv" else _dense_input(b, op)
    if storage.convert is not None:
        stored = b.scratch(-(-read.size * storage.input_bytes // 4))
        per_unit = b.share(read.size, 1024) * 2
        b.launch(storage.convert, -(-read.size // per_unit), (read.start, stored, read.size, per_unit))
        read = replace(read, start=stored)
    output, layout = b.output, b.output.layout
    assert layout is not None
    residual = _residual(b, op) if op.residual is not None else None
    fills = sorted(tables.fills, key=lambda fill: fill.axis)  # columns, then rows: the first works on computed rows only
    at_output = _output_pixels(layout, tables)
    if residual is None or fills:
        at_residual, residual_row = np.zeros_like(at_output), (-1, 0)
    else:
        assert residual.layout is not None
        at_residual, residual_row = _output_pixels(residual.layout, tables), (residual.origin, residual.layout.strides[1])
    work = _Sum(
        b,
        op,
        tables,
        read,
        np.stack([read.pixels, at_output, at_residual]),
        (output.origin, layout.strides[1], *residual_row, *(NO_ACTIVATION if fills else activation_row(op.activation))),
    )
    if op.kind == "conv" and _is_depthwise(op):
        work.depthwise()
    else:
        work.products()
    for fill in fills:
        _emit_fill(b, op, tables, fill, layout, residual, last=fill is fills[-1])
    if storage.finish is not None:
        b.launch(storage.finish, *_elementwise_row(layout, output.origin, layout, output.origin))


@dataclass(frozen=True, slots=True)
class _Read:
    """Where a convolution reads: a buffer (start, size in elements), the offset of every computed pixel's first tap in it, the
    offset of every filter element from there (int64[channels, KH * KW]; dense: [1, K]), and the stride of channel blocks."""

    start: int
    size: int
    pixels: Ints
    taps: Ints
    block_stride: int = 0


def _is_depthwise(op: Operator) -> bool:
    weight = op.constants["weight"]
    return bool(op["group"] > 1 and op["group"] == weight.shape[0] and weight.shape[1] == 1)


def _conv_input(b: Builder, op: Operator, tables: Tables) -> _Read:
    view = b.blocked(b.view(op.inputs[0]), conv_halo(op, b.graph), vectors=_is_depthwise(op))
    layout = view.layout
    assert layout is not None
    image, plane, row, column = layout.strides
    _, _, kernel_rows, kernel_columns = op.constants["weight"].shape
    c, i, j = np.ix_(np.arange(layout.extent[1]), np.arange(kernel_rows), np.arange(kernel_columns))
    taps = c // layout.block * plane + c % layout.block + i * op["dilations"][0] * row + j * op["dilations"][1] * column
    top, left, _, _ = op["pads"]
    n, h, w = np.ix_(np.arange(layout.extent[0]), tables.rows, tables.columns)
    pixels = layout.origin + n * image + (h * op["strides"][0] - top) * row + (w * op["strides"][1] - left) * column
    return _Read(view.start, layout.size, pixels.ravel(), taps.reshape(layout.extent[1], -1), plane)


def _dense_input(b: Builder, op: Operator) -> _Read:
    """Rows of features, wherever they lie, as long as the features of all rows lie alike."""
    view = b.view(op.inputs[0])
    elements = view.elements().reshape(-1, view.shape[-1])
    alike = bool((elements - elements[:, :1] == elements[:1] - elements[0, 0]).all())
    if not alike or len(_buffers(view)) > 1:
        start = b.scratch(elements.size)
        target = start + np.arange(elements.size, dtype=np.int64).reshape(elements.shape)
        b.gather(elements, target)
        elements = target
    start = int(elements[0, 0]) >> BUFFER_SHIFT << BUFFER_SHIFT
    size = b.lowering.buffers[start >> BUFFER_SHIFT].size
    return _Read(start, size, elements[:, 0] - start, elements[:1] - elements[0, 0])


def _residual(b: Builder, op: Operator) -> View:
    """The residual, laid out like the output."""
    assert op.residual is not None
    view, wanted = b.view(op.residual), b.output.layout
    assert wanted is not None
    have = view.layout
    if have is not None and (have.extent, have.block) == (wanted.extent, wanted.block):
        return view
    layout = replace(wanted, halo=(0, 0, 0, 0))
    copy = View((layout.extent[0] * layout.extent[1] * layout.extent[2] * layout.extent[3],), b._scratch(layout), layout)
    b.gather(view.elements().ravel(), copy.elements())
    return copy


def _output_pixels(layout: Layout, tables: Tables) -> Ints:
    """Offset of every computed pixel from element 0."""
    image, _, row, column = layout.strides
    n, h, w = np.ix_(np.arange(layout.extent[0]), tables.rows, tables.columns)
    return np.asarray(n * image + h * row + w * column).ravel()


@dataclass(frozen=True, slots=True)
class _Sum:
    """The sum over taps: packs tables and weights, chooses the register tile, and launches."""

    b: Builder
    op: Operator
    tables: Tables
    read: _Read
    pixels: Ints  # [3, P]: input, output, residual
    target: tuple[int, ...]  # descriptor entries 9-17

    def products(self) -> None:
        """The general convolution: panels of output channels, each with its own taps."""
        device, outputs = self.b.device, len(self.tables.weight)
        vectors = -(-outputs // device.vector)
        template, mr, nr = register_tile(device, self.pixels.shape[1], vectors)
        lanes = nr * device.vector
        panels = -(-vectors // nr)
        entries = []
        for panel in range(panels):
            taps, weight = self._panel(panel * lanes, min(outputs, (panel + 1) * lanes))
            padded = np.pad(taps, (0, -len(taps) % mr if template == "dense" else 0), mode="edge")
            packed = np.zeros((len(padded), lanes), dtype=np.float32)
            packed[: len(taps), : len(weight)] = weight.T
            entries.append((self.b.table(padded, "taps"), len(padded), self._weights(packed, f"weight{panel}")))
        panel_table = self.b.constant(np.array(entries, dtype=np.int32), "panels")
        self._launch(template, mr, nr, panels, panel_table)

    def depthwise(self) -> None:
        """One filter per channel: a tap is a vector of channels."""
        device, tables = self.b.device, self.tables
        channels, count = tables.weight.shape
        vectors = -(-channels // device.vector)
        packed = np.zeros((vectors * device.vector, count), dtype=np.float32)
        packed[:channels] = tables.weight
        packed = packed.reshape(vectors, device.vector, count).transpose(0, 2, 1)
        taps = self.b.table(self.read.taps[0][tables.taps], "taps")
        self._launch("depthwise", 4, 1, vectors, taps, count, self._weights(packed, "weight"), self.read.block_stride)

    def _launch(self, template: str, mr: int, nr: int, panels: int, table: int, *more: int) -> None:
        instance = Instance(template, mr, nr, self.tables.storage)
        self.b.lowering.instances.add(instance)
        tiles, per_unit, across, pixels, length = self._pixel_table(1 if template == "dense" else mr, panels)
        constants = self._epilogue_constants(panels * nr * self.b.device.vector)
        row = (tiles, per_unit, across, pixels, length, table, *constants, self.read.start, *self.target, *more)
        self.b.launch(instance.name, panels * across, row)

    def _weights(self, packed: npt.NDArray[np.float32], name: str) -> int:
        pack = self.tables.storage.pack
        return self.b.constant(packed if pack is None else pack(np.ascontiguousarray(packed)), name)

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

    def _pixel_table(self, tile: int, panels: int) -> tuple[int, int, int, int, int]:
        """Tiles, tiles per unit, units per panel, the table's offset and its length. The last pixel fills up the last tile."""
        device, count = self.b.device, self.pixels.shape[1]
        tiles = -(-count // tile)
        padded = np.concatenate([self.pixels, np.repeat(self.pixels[:, -1:], tiles * tile - count, axis=1)], axis=1)
        units = 16 * device.threads if device.kind == "cpu" else tiles * panels
        per_unit = max(1, tiles * panels // units)
        return tiles, per_unit, -(-tiles // per_unit), self.b.table(padded, "pixels"), padded.shape[1]


def register_tile(device: DeviceInfo, pixels: int, vectors: int) -> tuple[str, int, int]:
    """Template, pixels and vectors of the register tile: as many accumulators as hide latency and fit the registers."""
    if pixels < 4:
        return "dense", 8, 1
    if pixels < 8:
        return "convolution", 4, 2 if vectors % 2 == 0 else 1
    if device.isa == "avx512":
        return "convolution", 8, 2 if vectors % 2 == 0 else 1
    if device.kind == "gpu":
        return "convolution", 4, 1
    return "convolution", 6, 2 if vectors % 2 == 0 else 1


def _emit_fill(b: Builder, op: Operator, tables: Tables, fill: Fill, layout: Layout, residual: View | None, last: bool) -> None:
    """One pass that computes skipped lines; see kernels/README.md for its row."""
    axis, across = (2, 3) if fill.axis == "rows" else (3, 2)
    positions = np.arange(layout.extent[3]) if fill.axis == "rows" else tables.rows
    per_unit = max(1, len(positions) // (4 * b.device.threads)) if b.device.kind == "cpu" else 1
    chunks = -(-len(positions) // per_unit)
    vectors = -(-layout.extent[1] // b.device.vector)
    residual_row: tuple[int, ...] = (-1, 0, 0, 0, 0)
    if last and residual is not None:
        assert residual.layout is not None
        strides = residual.layout.strides
        residual_row = (residual.origin, *strides[:2], strides[axis], b.table(positions * strides[across], "residual"))
    kept = b.constant(np.array([len(fill.kept), *fill.kept], dtype=np.int32), "kept")
    at = b.table(positions * layout.strides[across], "across")
    row = (kept, layout.strides[axis], at, len(positions), per_unit, chunks, b.output.origin, layout.strides[0], vectors, layout.strides[1])
    activation = activation_row(op.activation) if last else NO_ACTIVATION
    b.launch(fill.function, layout.extent[0] * vectors * chunks, (*row, int(last), *residual_row, *activation))


# --------------------------------------------------------------------------------------------------------------- other operators


def _elementwise_row(source: Layout, source_origin: int, target: Layout, target_origin: int) -> tuple[int, tuple[int, ...]]:
    """Units, and descriptor entries 0-10 of the row-by-row functions in elementwise.cl."""
    images, _, rows, columns = target.extent
    row = (source_origin, *source.strides[:3], target_origin, *target.strides[:3], target.blocks, rows, columns * target.block)
    return images * target.blocks * rows, row


def _through(b: Builder, op: Operator, function: str, extra: Sequence[int] = (), second: View | None = None) -> None:
    """Launch a row-by-row function from the first input to the output."""
    source, output = b.blocked(b.view(op.inputs[0])), b.output
    assert source.layout is not None
    assert output.layout is not None
    units, row = _elementwise_row(source.layout, source.origin, output.layout, output.origin)
    tail: tuple[int, ...] = ()
    if second is not None:
        assert second.layout is not None
        tail = (second.origin, *second.layout.strides[:3])
    b.launch(function, units, (*row, *activation_row(op.activation), *(extra or (-1,)), *tail))


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
    if b.lowering._same_layout(op):
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
    row = (
        *(source.origin, *source.layout.strides[:3], output.origin, *target.strides[:3]),
        *(target.blocks, target.extent[2], target.extent[3], *source.layout.extent[2:]),
        *(*op["kernel"], *op["strides"], top, left, *op["dilations"], int(op.attributes.get("count_include_pad", False))),
        *activation_row(op.activation),
        *(bottom, right),
    )
    b.launch(f"pool_{op['op']}", target.extent[0] * target.blocks * target.extent[2], row)


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


_EMIT: Mapping[str, Callable[[Builder, Operator], None]] = {
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
