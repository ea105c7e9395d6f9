"""A trained network with its batch axis free: a simplified ONNX model in, a `Graph` for any batch size out."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .errors import LoweringError, UnsupportedOperator
from .extract import READERS, Misfit, Node, Unsupported, is_supported, read
from .fusion import fuse
from .graph import Graph, Operator, Shape, TensorSpec
from .simplify import array_of, bind, mend_for_batch, simplify

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx_ir as ir

_BETWEEN_SHAPES = {"Shape", "Size"}  # what is computed from these alone is folded once the batch is known


class Network:
    """Made by `from_model`. batch: the only batch size of a model that states one, else None."""

    def __init__(self, model: ir.Model, name: str, batch: int | None) -> None:
        self.model = model
        self.name = name
        self.batch = batch
        self._graphs: dict[int, Graph] = {}
        self._arrays: dict[tuple[str, str], npt.NDArray[Any]] = {}

    @classmethod
    def from_model(cls, model: ir.Model, name: str) -> Network:
        """Simplify a model and check that all of it can be an operator.

        Raises UnsupportedOperator, naming every node that cannot; LoweringError where inputs are not float32 of known shape.
        """
        simple = simplify(model)
        batch = _batch_of(simple)
        _check_types(simple)
        network = cls(simple, name, batch)
        network.at_batch(batch or 1)
        return network

    def at_batch(self, batch: int) -> Graph:
        """The operators with static shapes; made once per batch size.

        Raises LoweringError where the network fixes another batch size.
        """
        if batch < 1:
            raise LoweringError(f"a batch of {batch} inputs cannot be run", mend="choose a batch of 1 or more")
        if batch not in self._graphs:
            self._graphs[batch] = self._graph(batch)
        return self._graphs[batch]

    def to_bytes(self) -> bytes:
        """The simplified model as an ONNX file; the same bytes in every process."""
        import onnx_ir as ir

        content: bytes = ir.to_proto(self.model).SerializeToString(deterministic=True)
        return content

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the simplified model, as hexadecimal text."""
        from hashlib import sha256

        return sha256(self.to_bytes()).hexdigest()

    def _graph(self, batch: int) -> Graph:
        inputs = self.model.graph.inputs
        batched = {v.name or "" for v in inputs if v.shape and (v.shape[0] if isinstance(v.shape[0], int) else None) == self.batch}
        bound = bind(self.model, batch, batched)
        shapes = _static_shapes(bound)
        operators = _operators(bound, shapes, batch)
        outputs = tuple(v.name or "" for v in bound.graph.outputs)
        self._check_outputs(bound, shapes, batch)
        fused = tuple(self._share(op) for op in fuse(operators, shapes, outputs))
        names = [*(v.name or "" for v in bound.graph.inputs), *(t for op in fused for t in (*op.reads, op.output))]
        tensors = {name: TensorSpec(name, shapes[name]) for name in names}
        return Graph(
            name=self.name,
            batch=batch,
            inputs=tuple(tensors[v.name or ""] for v in bound.graph.inputs),
            outputs=tuple(tensors[name] for name in outputs),
            operators=fused,
            tensors=tensors,
        )

    def _check_outputs(self, bound: ir.Model, shapes: dict[str, Shape], batch: int) -> None:
        """An output that does not grow with the batch was computed with another batch in mind."""
        computed = {v.name for node in bound.graph for v in node.outputs}
        for value in bound.graph.outputs:
            name = value.name or ""
            if name not in computed and value not in bound.graph.inputs:
                raise LoweringError(f"output {name} of {self.name} is constant", mend="remove it from the model's outputs")
            if batch != self.batch and (not shapes[name] or shapes[name][0] != batch):
                raise LoweringError(
                    f"output {name} of {self.name} has shape {list(shapes[name])} for {batch} input(s): its axis 0 is not the batch",
                    mend=mend_for_batch(self.model, batch),
                )

    def _share(self, operator: Operator) -> Operator:
        """Let the graphs of all batch sizes hold the same arrays, read-only."""
        import numpy as np

        constants = {}
        for key, array in operator.constants.items():
            known = self._arrays.get((operator.name, key))
            if known is None or not np.array_equal(known, array):
                known = array.view()
                known.setflags(write=False)
                self._arrays[operator.name, key] = known
            constants[key] = known
        return replace(operator, constants=constants)


def _batch_of(model: ir.Model) -> int | None:
    """The batch size that a model states; None where it is free. Checks the inputs on the way."""
    from onnx_ir import DataType

    batch: int | None = None
    free = False
    for value in model.graph.inputs:
        if value.dtype != DataType.FLOAT:
            found = value.dtype.name.lower() if value.dtype is not None else "of no known type"
            raise LoweringError(f"input {value.name} is {found}; only float32 can be run", mend="export the model with float32 inputs")
        if value.shape is None:
            raise LoweringError(f"input {value.name} has no shape", mend="export the model with its input shapes")
        for axis, length in enumerate(value.shape):
            if axis and not isinstance(length, int):
                raise LoweringError(
                    f"axis {axis} of input {value.name} has no fixed length ({length}); only the batch axis 0 may be free",
                    mend="export the model with a fixed input size",
                )
        if value.shape and isinstance(value.shape[0], int):
            batch = batch or value.shape[0]
        free = free or bool(value.shape and not isinstance(value.shape[0], int))
    return None if free else batch or 1


def _check_types(model: ir.Model) -> None:
    """Name all nodes of an unsupported type at once, before anything else can go wrong with them."""
    static: set[str] = set()
    faults = []
    for node in model.graph:
        reads = [v.name or "" for v in node.inputs if v is not None and v.const_value is None]
        if node.op_type in _BETWEEN_SHAPES or (reads and static.issuperset(reads)):
            static.update(v.name or "" for v in node.outputs)
        elif not is_supported(node):
            faults.append((node, "is of a type that is not supported"))
    _report(faults)


def _report(faults: list[tuple[ir.Node, str]]) -> None:
    if not faults:
        return
    lines = [f"node {node.name} ({f'{node.domain}.' if node.domain else ''}{node.op_type}) {why}" for node, why in faults]
    raise UnsupportedOperator("\n".join(lines), mend=f"supported are: {', '.join(sorted(READERS))}")


def _static_shapes(model: ir.Model) -> dict[str, Shape]:
    """The shapes of all tensors that some node or output still asks for."""
    from onnx_ir import DataType

    shapes: dict[str, Shape] = {}
    faults: list[tuple[ir.Node, str]] = []
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        shapes[value.name or ""] = tuple(value.shape.numpy()) if value.shape is not None else ()
    for node in model.graph:
        for value in node.outputs:
            if not value.uses() and not value.is_graph_output():
                continue
            if value.shape is None or not all(isinstance(d, int) for d in value.shape):
                faults.append((node, "has an output whose shape depends on the data"))
            elif value.dtype != DataType.FLOAT:
                faults.append((node, f"gives {value.dtype.name.lower() if value.dtype else 'no known type'}; only float32 is computed"))
            else:
                shapes[value.name or ""] = tuple(value.shape.numpy())
    _report(faults)
    return shapes


def _operators(model: ir.Model, shapes: dict[str, Shape], batch: int) -> list[Operator]:
    constants = {name: array_of(v.const_value) for name, v in model.graph.initializers.items() if v.const_value is not None}
    operators: list[Operator] = []
    faults: list[tuple[ir.Node, str]] = []
    misfits: list[str] = []
    for node in model.graph:
        try:
            operators += read(Node(node, constants, shapes, model.graph.opset_imports.get("", 1)))
        except Misfit as why:
            misfits.append(f"node {node.name} ({node.op_type}) {why}")
        except Unsupported as why:
            faults.append((node, str(why)))
    _report(faults)
    if misfits:
        raise LoweringError(f"shapes do not fit at batch {batch}: {'; '.join(misfits)}", mend=mend_for_batch(model, batch))
    return operators
