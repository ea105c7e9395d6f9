"""ONNX in, smaller ONNX out: what can be known before the network runs is computed here, once.

The result is an ordinary ONNX model with the same meaning: functions inlined, constants folded (casts, dequantisation, shape
arithmetic), Dropout and Identity removed, every node named. Fusion into operators follows in `fusion`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from .errors import LoweringError

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx
    import onnx_ir as ir

OLDEST_OPSET = 7
"""Before it, Add and the like carried `broadcast` attributes, and BatchNormalization a `spatial` one."""

MINPOOL_DOMAIN = "ai.mobiprox"
"""Domain of MinPool, the paper's minimum pool: attributes and shapes of ONNX MaxPool."""

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_RESERVED = {"weight", "bias", "scale", "shift"}  # keys of Operator.constants; an activation may not be called so


def simplify(model: ir.Model) -> ir.Model:
    """A simplified copy; the batch axis stays as it is. Idempotent.

    Raises LoweringError for an operator set that is too old.
    """
    from onnx_ir.passes import Sequential, common

    opset = model.graph.opset_imports.get("", OLDEST_OPSET)
    if opset < OLDEST_OPSET:
        raise LoweringError(
            f"the model uses operator set {opset}, older than {OLDEST_OPSET}",
            mend="convert it with onnx.version_converter.convert_version(model, 17)",
        )
    model = Sequential(
        common.InlinePass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.ClearMetadataAndDocStringPass(),
    )(model.clone()).model
    _forget_provenance(model)
    _bypass_dropout(model)
    fold_constants(model)
    model = Sequential(
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
    )(model).model
    _name_everything(model)
    _hold_weights_as_arrays(model)
    return model


def bind(model: ir.Model, batch: int, batched: Collection[str]) -> ir.Model:
    """A copy of a simplified model in which every shape is static and what depended on shapes is folded.

    batched: names of the inputs whose axis 0 becomes `batch`. Raises LoweringError where shapes do not fit.
    """
    import onnx_ir as ir
    from onnx_ir.passes import common

    bound = model.clone()
    for value in bound.graph.inputs:
        if value.name in batched and value.shape is not None:
            value.shape = ir.Shape([batch, *value.shape[1:]])
    infer_shapes(bound, batch)
    while _fold_shapes(bound) | fold_constants(bound):
        infer_shapes(bound, batch)
    common.RemoveUnusedNodesPass()(bound)
    return bound


def fold_constants(model: ir.Model) -> bool:
    """Evaluate every node that reads constants only; True if there was one."""
    folded = False
    for node in list(model.graph):
        if not node.inputs or node.op_type in _RANDOM or any(_constant(v) is None for v in node.inputs if v is not None):
            continue
        if node.domain not in ("", "ai.onnx") or any(a.type.name in ("GRAPH", "GRAPHS") for a in node.attributes.values()):
            continue
        results = _evaluate(node, [None if v is None else _constant(v) for v in node.inputs], model)
        for output, array in zip(node.outputs, results, strict=False):
            _make_constant(model, output, array)
        model.graph.remove(node, safe=True)
        folded = True
    return folded


def infer_shapes(model: ir.Model, batch: int) -> None:
    """Set shape and type of every value, in place, from those of the inputs."""
    import onnx
    import onnx_ir as ir

    sketch = model.clone()  # without the weights' values: shape inference copies the model
    for node in sketch.graph:
        if node.domain == MINPOOL_DOMAIN:
            node.domain, node.op_type = "", "MaxPool"
        for value in node.outputs:
            value.shape = None
    for value in list(sketch.graph.initializers.values()):
        if value.const_value is not None and value.const_value.nbytes > 1024:
            value.shape, value.dtype = value.const_value.shape, value.const_value.dtype  # type: ignore[assignment]
            del sketch.graph.initializers[value.name]  # type: ignore[arg-type]
            sketch.graph.inputs.append(value)
    proto = ir.to_proto(sketch)
    try:
        _round_down(proto)
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError, and what protobuf raises for broken models
        raise LoweringError(f"shapes do not fit at batch {batch}: {_first_line(error)}", mend=mend_for_batch(model, batch)) from error
    known = _known(inferred)
    for node in model.graph:
        for value in node.outputs:
            found = known.get(value.name or "")
            if found is not None and found.HasField("shape"):
                value.shape = ir.Shape([_dim(dim) for dim in found.shape.dim])
                value.dtype = ir.DataType(found.elem_type)


def _known(proto: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    infos = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    return {info.name: info.type.tensor_type for info in infos}


def _round_down(proto: onnx.ModelProto) -> None:
    """Let pools with ceil_mode give the same shapes without it.

    ONNX drops a last window that would start in the padding behind the map; its shape inference (1.23) forgets this for some.
    """
    import onnx
    from onnx import helper

    for node in proto.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if not attributes.get("ceil_mode") or node.domain:
            continue
        known = _known(onnx.shape_inference.infer_shapes(proto, data_prop=True)).get(node.input[0])
        if known is None or not known.shape.dim or not all(dim.HasField("dim_value") for dim in known.shape.dim):
            continue
        auto = attributes.pop("auto_pad", b"NOTSET")
        lengths = [dim.dim_value for dim in known.shape.dim[2:]]
        ones = [1] * len(lengths)
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", ones)
        pads = list(attributes.get("pads", ()) if auto == b"NOTSET" else ()) or [0] * 2 * len(lengths)
        for axis, (length, k, s, d) in enumerate(zip(lengths, kernel, strides, attributes.get("dilations", ones), strict=True)):
            span, before, after = (k - 1) * d + 1, pads[axis], pads[axis + len(lengths)]
            count = -(-(length + before + after - span) // s) + 1
            count -= (count - 1) * s >= length + before
            pads[axis + len(lengths)] = max((count - 1) * s + span - length - before, 0)
        rounded = {"ceil_mode": 0, "auto_pad": auto} if auto.startswith(b"SAME") else {"ceil_mode": 0, "pads": pads}
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(name, value) for name, value in (attributes | rounded).items())


def array_of(tensor: ir.TensorProtocol) -> npt.NDArray[Any]:
    """The values of a tensor; for tensors of a simplified model always the same array, read-only."""
    return tensor.numpy()


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def mend_for_batch(model: ir.Model, batch: int) -> str:
    """Reshapes that name another batch are the usual reason why a network runs at one batch only."""
    fixed = [node.name or "" for node in model.graph if node.op_type == "Reshape" and _hard_codes_batch(node, batch)]
    if fixed:
        return f"the target shape of {', '.join(fixed)} hard-codes the batch; export the model with a free batch axis"
    return "export the model again with a free batch axis; `onnx.checker.check_model(model, full_check=True)` says more"


def _hard_codes_batch(node: ir.Node, batch: int) -> bool:
    target = _constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return target is not None and target.size > 0 and int(target.flat[0]) not in (0, -1, batch)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return array_of(value.const_value)


def _make_constant(model: ir.Model, value: ir.Value, array: npt.NDArray[Any]) -> None:
    """Let the node's output live on as an initializer of the same name; graph outputs keep a node (see `network`)."""
    import numpy as np
    import onnx_ir as ir

    array = np.array(array)
    array.setflags(write=False)
    constant = ir.Value(name=value.name, type=ir.TensorType(ir.tensor(array).dtype), shape=ir.Shape(array.shape))
    constant.const_value = ir.Tensor(array)
    value.name = f"{value.name}/folded"
    value.replace_all_uses_with(constant, replace_graph_outputs=True)
    model.graph.register_initializer(constant)


def _evaluate(node: ir.Node, arrays: list[Any], model: ir.Model) -> list[npt.NDArray[Any]]:
    """The outputs of one node on constants, by ONNX's own reference."""
    import onnx
    import onnx_ir as ir
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
    feeds: dict[str, Any] = {name: array for name, array in zip(proto.input, arrays, strict=True) if name}
    infos = [helper.make_tensor_value_info(name, _element_type(array), array.shape) for name, array in feeds.items()]
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in proto.output if name]
    newer = {"": 19} if node.op_type == "DequantizeLinear" else {}  # the reference lacks older ones; they mean the same
    opsets = [helper.make_opsetid(d, max(version, newer.get(d, 0))) for d, version in model.graph.opset_imports.items()]
    single = helper.make_model(helper.make_graph([proto], "constant", infos, outputs), opset_imports=opsets)
    try:
        return list(ReferenceEvaluator(single).run(None, feeds))
    except Exception as error:
        raise LoweringError(
            f"constant node {node.name or proto.output[0]} ({node.op_type}) cannot be computed: {_first_line(error)}",
            mend="check the model with onnx.checker.check_model(model, full_check=True)",
        ) from error


def _element_type(array: npt.NDArray[Any]) -> int:
    import onnx_ir as ir

    return int(ir.DataType.from_numpy(array.dtype))


def _fold_shapes(model: ir.Model) -> bool:
    """Turn Shape and Size of tensors with static shapes into constants."""
    import numpy as np

    folded = False
    for node in list(model.graph):
        shape = node.inputs[0].shape if node.op_type in ("Shape", "Size") and node.inputs[0] is not None else None
        if shape is None or not all(isinstance(d, int) for d in shape):
            continue
        dims = np.array(shape.numpy(), np.int64)
        if node.op_type == "Size":
            dims = np.array(np.prod(dims), np.int64)
        else:
            dims = dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))]
        _make_constant(model, node.outputs[0], dims)
        model.graph.remove(node, safe=True)
        folded = True
    return folded


def _bypass_dropout(model: ir.Model) -> None:
    """Dropout does nothing at inference: an Identity, where nobody asks for its mask and training is not switched on."""
    import onnx_ir as ir

    for node in list(model.graph):
        if node.op_type != "Dropout" or node.domain not in ("", "ai.onnx"):
            continue
        training = _constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else False
        mask_used = any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
        if training is None or bool(training) or mask_used:
            continue
        old = node.outputs[0]
        bypass = ir.node("Identity", [node.inputs[0]], name=node.name)
        new = bypass.outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        old.name = f"{old.name}/dropout"
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], [bypass], [old], [new])


def _forget_provenance(model: ir.Model) -> None:
    """Who exported the model and when must not change its digest."""
    model.producer_name = model.producer_version = model.domain = model.doc_string = None
    model.model_version = None
    model.metadata_props.clear()
    model.graph.name = "network"


def _name_everything(model: ir.Model) -> None:
    """Unique names: a node is called what its author called it, else what its first output is called."""
    taken: set[str] = set()
    for node in model.graph:
        wanted = node.name or next(v.name for v in node.outputs if v.name) or node.op_type
        node.name = _unused(wanted, taken)
        taken.add(node.name)
    values = {v.name or "" for node in model.graph for v in node.outputs} | {v.name or "" for v in model.graph.inputs}
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        if value.name in _RESERVED:
            value.name = _unused(f"{value.name}_", values | set(model.graph.initializers))


def _unused(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        name, count = f"{wanted}_{count}", count + 1
    return name


def _hold_weights_as_arrays(model: ir.Model) -> None:
    """Drop constants that nobody reads; hold the others as arrays in memory, read-only, shared by all copies of the model."""
    import numpy as np
    import onnx_ir as ir

    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del model.graph.initializers[name]
        elif value.const_value is not None and type(value.const_value) is not ir.Tensor:
            array = np.array(value.const_value.numpy())
            array.setflags(write=False)
            value.const_value = ir.Tensor(array, dtype=value.const_value.dtype)
            value.shape, value.dtype = ir.Shape(array.shape), value.const_value.dtype
