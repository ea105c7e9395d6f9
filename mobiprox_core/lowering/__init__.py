"""Graph + settings + device -> execution plan.

Tensors are *views*: an address for every element. What only moves elements (reshape, transpose, slice, concat, pad) is NumPy on
addresses and costs nothing until somebody needs the result in one piece; then one gather makes it so. Channels of a concatenation are
written where they belong in it. `views` has addresses and layouts, `arena` the memory, `builder` and `convolution` and `operators` the
launches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import prod
from types import MappingProxyType

import numpy as np

from ..configuration import EXACT, Configuration, OpId, Setting
from ..correction import Correction, CorrectionsOf, corrected, none
from ..errors import InfeasibleSetting, LoweringError
from ..graph import Graph, Operator, Shape
from ..interfaces import Statistics, Technique
from ..plan import DeviceInfo, ExecutionPlan, Launch, PlanOperator, Slot, Variant
from ..program import Chain, Instance, assemble
from ..tables import Form, KernelSource, Role
from .arena import Arena
from .builder import Builder
from .convolution import emit_tables, exact_tables, geometry, reach
from .forms import Reads, Traffic, traffic
from .operators import EMIT, same_layout
from .views import BUFFER_SHIFT, Layout, View, four, moved
from .ways import Way


def lower(
    graph: Graph,
    device: DeviceInfo,
    techniques: Mapping[str, Technique],
    settings: Mapping[OpId, Sequence[Setting]],
    levels: Sequence[Configuration] = (),
    *,
    keep_activations: bool = False,
    statistics: Callable[[OpId], Statistics | None] = lambda op: None,
    corrections: CorrectionsOf = none,
    ways: Mapping[str, Way] = MappingProxyType({}),
) -> ExecutionPlan:
    """The plan that holds, for every operator, its exact variant, one variant per setting, and one per correction of a level.

    settings: per operator what to offer beside exact, in this order; settings that `levels` use are added. levels: configurations
    to switch between; level 0, exact, is put in front unless it is there. keep_activations: no activation shares memory with another,
    so that a runner can resume from any operator. corrections: of every level; operators that a technique replaces whole are not corrected.

    ways: how to compute convolutions and dense layers of some shapes, see `tuning`; a rule decides about all others.

    Raises InfeasibleSetting where a setting means nothing for its operator, LoweringError for an unknown operator or technique.
    """
    return _Lowering(graph, device, techniques, statistics, corrections, Arena(keep_activations), ways).plan(settings, levels)


def alternatives(
    graph: Graph,
    device: DeviceInfo,
    techniques: Mapping[str, Technique],
    levels: Sequence[Configuration],
    ways: Mapping[str, Way],
    statistics: Callable[[OpId], Statistics | None] = lambda op: None,
) -> tuple[ExecutionPlan, dict[tuple[int, int], Alternatives]]:
    """A plan with these levels that has all ways to compute what has no key among `ways` yet. And these: by operator and variant (both
    as indices) of the levels."""
    lowering = _Lowering(graph, device, techniques, statistics, none, Arena(False), ways)
    lowering.alternatives = {}
    return lowering.plan({}, levels), lowering.alternatives


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Ways to compute one operator under one setting: their key among `ways`, the rule's first, and the variants that take them."""

    key: str
    ways: tuple[Way, ...]
    variants: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one variant of an operator is made from."""

    setting: Setting
    correction: Correction | None = None
    traffic: Traffic = field(default_factory=Traffic)
    way: Way | None = None


class _Lowering:
    def __init__(
        self,
        graph: Graph,
        device: DeviceInfo,
        techniques: Mapping[str, Technique],
        statistics: Callable[[OpId], Statistics | None],
        corrections: CorrectionsOf,
        arena: Arena,
        ways: Mapping[str, Way],
    ) -> None:
        self.ways = ways
        self.alternatives: dict[tuple[int, int], Alternatives] | None = None
        self.graph = graph
        self.device = device
        self.techniques = techniques
        self.statistics = statistics
        self.corrections = corrections
        self.arena = arena
        self.views: dict[str, View] = {}
        self.instances: set[Instance | Chain] = set()
        self.parts = _parts(graph, device.block)
        self.halos = _halos(graph, self.parts)
        self.wholes: dict[str, int] = {}

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
        inputs = [self._input(spec.name, spec.shape) for spec in graph.inputs]
        for self.arena.step, operator in enumerate(graph.operators, 1):
            self.views[operator.output] = self._output(operator)
        chosen = [self._level(configuration) for configuration in configurations]
        offered = {
            op.name: tuple(
                dict.fromkeys(
                    [_Choice(EXACT), *(self._alone(op, s) for s in settings.get(op.name, ())), *(level[op.name] for level in chosen)]
                )
            )
            for op in graph.operators
        }
        emitted: list[list[Builder]] = []
        memory: Counter[str] = Counter()
        for self.arena.step, operator in enumerate(graph.operators, 1):
            emitted.append([])
            for choice in offered[operator.name]:
                before = self.arena.constant_elements
                emitted[-1].append(self._variant(operator, choice))
                owner = " + ".join(dict.fromkeys(part.technique for part in choice.setting)) or "exact"
                added = 4 * (self.arena.constant_elements - before)
                memory[owner] += added
                if choice.correction is not None:
                    memory[owner] -= (own := min(added, choice.correction.size_bytes))
                    memory["recalibration"] += own
            if self.alternatives is not None:
                offered[operator.name] += self._others(operator, offered[operator.name], emitted[-1], self.alternatives)
        self.arena.step += 1
        outputs, tail = self._outputs()
        if tail is not None:
            emitted.append([tail])

        memory["exact"] += 4 * self.arena.constant_elements - memory.total()  # tables of what gathers outputs and moves elements
        kept = [self._slot(name, view) for name, view in self.views.items() if view.layout is not None] if self.arena.keep else []
        elements = self.arena.place()
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
                    Variant(choice.setting, tuple(self._launch(*launch) for launch in builder.launches), builder.geometry)
                    for choice, builder in zip(offered.get(variants[0].operator.name, (_Choice(EXACT),)), variants, strict=True)
                ),
            )
            for variants in emitted
        )
        index = {name: {choice: i for i, choice in enumerate(choices)} for name, choices in offered.items()}
        picked = [tuple(index[o.name][level[o.name]] if o.name in index else 0 for o in operators) for level in chosen]
        used = [dict(c for own, number in zip(emitted, row, strict=True) for c in own[number].used.items()) for row in picked]
        return ExecutionPlan(
            name=graph.name,
            batch=graph.batch,
            device=self.device,
            source=source,
            functions=functions,
            arena_elements=elements,
            constants=self.arena.constants(),
            inputs=tuple(map(self._placed, inputs)),
            outputs=tuple(map(self._placed, outputs)),
            operators=operators,
            levels=tuple(picked),
            tensors=tuple(map(self._placed, kept)),
            notes={
                "memory_bytes": {**memory, "activations": 4 * (elements - self.arena.constant_elements)},
                "level_bytes": [sum(own.values()) for own in used],
            },
        )

    def _input(self, name: str, shape: Shape) -> Slot:
        """Inputs are planar (block 1) with the halo that convolutions need: the host's copy is all the packing there is."""
        layout = Layout(four(shape), 1, self.halos.get(name, (0, 0, 0, 0)))
        self.views[name] = View(shape, self.arena.buffer(layout.size, None), layout)
        return self._slot(name, self.views[name])

    def _output(self, operator: Operator) -> View:
        shape = self.graph.shape(operator.output)
        if operator.kind == "view":
            builder = self._builder(operator)
            return moved(operator, shape, [builder.view(name) for name in operator.inputs], builder.constant)
        if operator.kind in ("softmax", "reduce_mean", "matmul") or (
            operator.kind == "binary" and not same_layout(operator, self.graph, self.views, self.device.block)
        ):
            layout = Layout((1, 1, 1, prod(shape)), 1)
        elif operator.kind == "dense":
            layout = Layout((prod(shape[:-1]), shape[-1], 1, 1), self.device.block)
        else:
            return self._in_blocks(operator.output, shape)
        return View(shape, self.arena.buffer(layout.size, layout), layout)

    def _in_blocks(self, name: str, shape: Shape) -> View:
        """A tensor in blocks of channels, in a buffer of its own or in that of the concatenation that it is a part of."""
        whole, channel = self.parts.get(name, (name, 0))
        layout = Layout(four(self.graph.shape(whole)), self.device.block, self.halos.get(whole, (0, 0, 0, 0)))
        if whole not in self.wholes:
            self.wholes[whole] = self.arena.buffer(layout.size, layout)
        start = self.wholes[whole]
        if whole == name:
            return View(shape, start, layout)
        return View(shape, start + channel // layout.block * layout.strides[1], replace(layout, extent=four(shape), of=layout.blocks))

    def _alone(self, operator: Operator, setting: Setting) -> _Choice:
        """A setting whose operator converts what it reads by itself, and writes float32."""
        return _Choice(setting, traffic=Traffic(self._reads(operator, setting)))

    def _level(self, configuration: Configuration) -> dict[OpId, _Choice]:
        """What every operator does in a level."""
        graph, corrections = self.graph, self.corrections(configuration)
        passed = traffic(graph, self.views, self.device.block, lambda op: self._reads(op, configuration[op.name]), keep=self.arena.keep)
        return {
            op.name: _Choice(configuration[op.name], corrections.get(op.name), passed.get(op.name, Traffic())) for op in graph.operators
        }

    def _reads(self, operator: Operator, setting: Setting) -> Reads:
        """The forms in which an operator reads what it reads, as the first of its techniques that cares says."""
        roles: tuple[Role, ...] = ("input",) if operator.residual is None else ("input", "residual")
        found: dict[Role, Form] = {}
        for part in setting:
            form_of = getattr(self._technique(part.technique), "form", None)
            if form_of is None:
                continue
            for role in roles:
                form = form_of(part, operator, role, self.device, self.statistics(operator.name))
                if form is not None:
                    found.setdefault(role, form)
        return tuple(found.items())

    def _others(
        self, operator: Operator, choices: Sequence[_Choice], emitted: list[Builder], alternatives: dict[tuple[int, int], Alternatives]
    ) -> tuple[_Choice, ...]:
        """Emit the operator in all other ways that are legal for each of its choices."""
        more: list[_Choice] = []
        for number, (choice, builder) in enumerate(zip(choices, tuple(emitted), strict=True)):
            if len(builder.legal) > 1 and builder.key not in self.ways:
                others = [replace(choice, way=way) for way in builder.legal[1:]]
                variants = (number, *range(len(emitted), len(emitted) + len(others)))
                alternatives[self.arena.step - 1, number] = Alternatives(builder.key, tuple(builder.legal), variants)
                emitted += [self._variant(operator, other) for other in others]
                more += others
        return tuple(more)

    def _variant(self, operator: Operator, choice: _Choice) -> Builder:
        setting, correction, flow = choice.setting, choice.correction, choice.traffic
        builder = self._builder(operator)
        builder.reads, builder.delivered, builder.writes = dict(flow.reads), flow.delivered, flow.writes
        builder.ways, builder.forced = self.ways, choice.way
        for name in operator.reads:
            for buffer in self.views[name].buffers:
                self.arena.touch(buffer)
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
                builder.deliver()
                return builder
            if parts and operator.kind not in ("conv", "dense"):
                raise InfeasibleSetting(f"'{setting}' does not apply to an operator of kind '{operator.kind}'")
            if operator.kind in ("conv", "dense"):
                tables = exact_tables(operator, self.graph)
                statistics = self.statistics(operator.name) if parts else None
                for technique, part in parts:
                    fitted = technique.prepare(part, operator, statistics)
                    tables = technique.edit(part, operator, tables, self.device, fitted)
                if correction is not None:
                    tables = corrected(tables, correction)
                emit_tables(builder, operator, tables)
                builder.geometry = geometry(tables)
            else:
                builder.exact(operator)
            builder.deliver()
        except InfeasibleSetting as fault:
            raise InfeasibleSetting(fault.what, where=f"operator '{operator.name}'", mend=fault.mend) from fault
        return builder

    def _builder(self, operator: Operator) -> Builder:
        return Builder(operator, self.graph, self.device, self.arena, self.views, lambda b, op: EMIT[op.kind](b, op), self.instances)

    def _technique(self, name: str) -> Technique:
        if name not in self.techniques:
            raise LoweringError(f"no technique is called '{name}'", mend=f"at hand are: {', '.join(sorted(self.techniques)) or 'none'}")
        return self.techniques[name]

    def _outputs(self) -> tuple[list[Slot], Builder | None]:
        """Slots of the network's outputs; what does not lie in a buffer of its own is gathered by a last, nameless operator."""
        tail = self._builder(Operator("(outputs)", "view", (), ""))
        slots = []
        for spec in self.graph.outputs:
            view = self.views[spec.name]
            if view.layout is None or view.start >> BUFFER_SHIFT == 0:
                layout = Layout((1, 1, 1, prod(view.shape)), 1)
                copy = View(view.shape, self.arena.buffer(layout.size, None), layout)
                tail.gather(view.elements(), copy.elements())
                view = copy
            self.arena.touch(view.start >> BUFFER_SHIFT)
            slots.append(self._slot(spec.name, view))
        return slots, tail if tail.launches else None

    def _slot(self, name: str, view: View) -> Slot:
        assert view.layout is not None
        return Slot(name, view.shape, view.layout.extent, view.origin, view.layout.strides, view.layout.block)

    def _placed(self, slot: Slot) -> Slot:
        return replace(slot, offset=int(self.arena.resolve(np.array([slot.offset], dtype=np.int64))[0]))

    def _launch(self, function: str, units: int, row: tuple[int, ...]) -> Launch:
        return Launch(function, units, tuple(self.arena.resolve(np.array(row, dtype=np.int64)).tolist()))

    def _sources(self) -> list[KernelSource]:
        return [source for _, technique in sorted(self.techniques.items()) for source in technique.kernels(self.device)]


IN_BLOCKS = ("conv", "pool", "affine", "activation", "binary")
"""Kinds of operators that write blocks of channels (element-wise ones of two inputs mostly)."""


def _parts(graph: Graph, block: int) -> dict[str, tuple[str, int]]:
    """Tensors that are written where a concatenation has them, so that nothing need be put together: its name, and their first channel in it.

    A tensor that several concatenations have (each layer of a DenseNet has those of all before) is a part of the last one. What does not lie
    there after all, as the views show, is put together where it is read; so is what has constants beside tensors.
    """
    joins = [op for op in graph.operators if op.kind == "view" and op["op"] == "concat" and op["axis"] == 1 and not op.constants]
    movable = {op.output for op in joins} | {op.output for op in graph.operators if op.kind in IN_BLOCKS}
    found: dict[str, tuple[str, int]] = {}
    for op in reversed(joins):
        firsts = list(accumulate((graph.shape(name)[1] for name in op.inputs), initial=0))[:-1]
        if len({*op.inputs} & movable - {*found}) == len(op.inputs) and not any(first % block for first in firsts):
            whole, channel = found.get(op.output, (op.output, 0))
            found |= {name: (whole, channel + first) for name, first in zip(op.inputs, firsts, strict=True)}
        elif op.inputs[0] in found:
            found.setdefault(op.output, found[op.inputs[0]])
    return found


def _halos(graph: Graph, parts: Mapping[str, tuple[str, int]]) -> dict[str, tuple[int, int, int, int]]:
    """How far convolutions read beyond each tensor, or the whole that it is a part of: rows and columns (top, left, bottom, right)."""
    halos: dict[str, tuple[int, int, int, int]] = {}
    for op in graph.operators:
        if op.kind == "conv":
            need = reach(op, graph)
            whole, _ = parts.get(op.inputs[0], (op.inputs[0], 0))
            halos[whole] = tuple(map(max, zip(need, halos.get(whole, need), strict=True)))  # type: ignore[assignment]
    return halos
