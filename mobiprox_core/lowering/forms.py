"""In which forms tensors are written and read, level by level.

A setting may have its operator read a tensor in another form than float32. In a level, whoever writes the tensor writes it in the forms
that its readers want, so neighbours hand it on without a round trip. Alone (for the profile), an operator converts what it reads by
itself, and writes float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..graph import Graph, Operator
from ..program import PLAIN
from ..tables import Form, Role
from .builder import lies_blocked
from .convolution import is_depthwise, lies_for_dense, lies_like, reach
from .views import BUFFER_SHIFT, View

Reads = tuple[tuple[Role, Form], ...]
"""The forms in which an operator reads its first input and its residual; float32 is left out."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one operator reads and writes. delivered: (buffer, form) that others have made of what it reads. writes: forms of its output."""

    reads: Reads = ()
    delivered: frozenset[tuple[int, Form]] = frozenset()
    writes: frozenset[Form] = frozenset({PLAIN})


def traffic(graph: Graph, views: Mapping[str, View], block: int, reads_of: Callable[[Operator], Reads], keep: bool) -> dict[str, Traffic]:
    """Of every operator of a level, by name. reads_of: what its setting says. keep: every tensor is written as float32 too."""
    wanted: defaultdict[int, set[Form]] = defaultdict(lambda: {PLAIN} if keep else set())
    for spec in graph.outputs:
        for buffer in views[spec.name].buffers:
            wanted[buffer << BUFFER_SHIFT].add(PLAIN)
    working = [op for op in graph.operators if op.kind != "view"]
    reads: dict[str, Reads] = {}
    writes: dict[str, frozenset[Form]] = {}
    for op in reversed(working):
        writes[op.name] = frozenset(wanted[base(views[op.output])] or {PLAIN})
        reads[op.name] = reads_of(op) or _passed_on(op, views, block, writes[op.name])
        direct = {role: form for role, form in reads[op.name] if in_place(op, role, graph, views, block)}
        plain = list(op.reads)  # a tensor that is read twice stands there twice
        for role in direct:
            plain.remove(tensor_of(op, role))
        for name, form in [*((tensor_of(op, role), form) for role, form in direct.items()), *((name, PLAIN) for name in plain)]:
            for buffer in views[name].buffers:
                wanted[buffer << BUFFER_SHIFT].add(form)
    made = {base(views[op.output]) for op in working}
    ready: set[tuple[int, Form]] = set()  # of the network's inputs, which their first reader converts
    result = {}
    for op in working:
        pairs = {(base(views[tensor_of(op, role)]), form) for role, form in reads[op.name] if in_place(op, role, graph, views, block)}
        result[op.name] = Traffic(reads[op.name], frozenset(p for p in pairs if p[0] in made or p in ready), writes[op.name])
        ready |= pairs
    return result


def base(view: View) -> int:
    """Address of the buffer that a tensor lies in."""
    return min(view.buffers) << BUFFER_SHIFT


def tensor_of(op: Operator, role: Role) -> str:
    if role == "input":
        return op.inputs[0]
    assert op.residual is not None
    return op.residual


def in_place(op: Operator, role: Role, graph: Graph, views: Mapping[str, View], block: int) -> bool:
    """Whether an operator reads a tensor where and as it lies, so that another form of the same buffer would do."""
    view = views[tensor_of(op, role)]
    if role == "residual":
        return lies_like(view, views[op.output])
    if op.kind == "conv":
        return lies_blocked(view, reach(op, graph), block if is_depthwise(op) else None)
    return lies_for_dense(view) if op.kind == "dense" else lies_blocked(view, (0, 0, 0, 0), block)


def _passed_on(op: Operator, views: Mapping[str, View], block: int, writes: frozenset[Form]) -> Reads:
    """What takes the greatest of some values may as well do so with stored ones."""
    (form, *others) = writes
    passes = op.kind == "pool" and op["op"] == "max" and op.activation is None and not others and form != PLAIN and form.ordered
    return (("input", form),) if passes and lies_blocked(views[op.inputs[0]], (0, 0, 0, 0), block) else ()
