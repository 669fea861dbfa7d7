"""Shapes of every value, by ONNX's own inference, on a copy without the weights' data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxprune.errors import InputShapeError
from onnxprune.graph.named_sizes import JOINING, named_sizes
from onnxprune.graph.shape_values import fold_shape_values
from onnxprune.graph.sizes import dims, is_plain

# Data of initializers up to this size (bytes) stays in the copy: Reshape targets, Resize scales, Slice bounds.
_SMALL_BYTES = 1024

# ONNX defines these by functions and infers no shape for them.
_UNINFERRED = frozenset({"GroupNormalization", "MeanVarianceNormalization"})

_RANKS_SINCE = 14

_MADE_UP = re.compile(r"unk__\d+")

# A table of positions is cut, expanded and added to other tables and the sequence before it is where names matter.
_MOST_ROUNDS = 8

Dims = tuple[int | str | None, ...]


def infer_shapes(model: ir.Model) -> None:
    """Infer the shape and type of every value of `model`, in place; values that cannot be inferred keep theirs."""
    infer_unnamed(model)
    name_sizes(model)


def infer_unnamed(model: ir.Model) -> None:
    """Infer as ONNX does, which gives sizes that it does not follow new names."""
    stated: dict[str, Dims] = {}
    while True:
        inferred = _inferred(model, stated)
        _keep(model, inferred)
        _forget_made_up(model, inferred)
        found = {name: axes for name, axes in _ranks(model) if name not in stated}
        if not found:
            break
        stated |= found
    _forget_impossible(model)


def _ranks(model: ir.Model) -> Iterator[tuple[str, Dims]]:
    """Yield what ONNX's inference before opset 14 does not say: how many axes there are where sizes are computed."""
    if model.opset_imports.get("", 1) >= _RANKS_SINCE:
        return
    for node in model.graph:
        if node.domain or node.op_type not in {"Reshape", "Expand"} or node.outputs[0].shape is not None:
            continue
        read, target = (value.shape if value is not None else None for value in node.inputs[:2])
        entries = target[0] if target is not None and len(target) == 1 else None
        if isinstance(entries, int) and (node.op_type == "Reshape" or read is not None):
            axes = entries if node.op_type == "Reshape" else max(entries, len(read or ()))
            yield str(node.outputs[0].name), (None,) * axes


def name_sizes(model: ir.Model) -> None:
    """Give sizes in inferred shapes their own names and numbers, as far as `named_sizes` says them."""
    if not named_sizes(model):
        return
    said: dict[str, Dims] = {}
    for _ in range(_MOST_ROUNDS):
        if own := _own_names(model):
            _keep(model, _inferred(model, own | {name: _both(shape, own.get(name)) for name, shape in said.items()}))
            _own_names(model)
        found = {name: _lasting(shape) for name, shape in named_sizes(model).items()}
        found = {name: shape for name, shape in found.items() if said.get(name) != shape and any(shape)}
        if not found:
            return
        said |= found
        # What comes of what is said now may be called better than by names of its own.
        _keep(model, _inferred(model, said))


def _lasting(shape: Dims) -> Dims:
    """Leave out what names a size that inference calls another name the next time."""
    return tuple(None if isinstance(size, str) and _MADE_UP.search(size) else size for size in shape)


def _both(shape: Dims, own: Dims | None) -> Dims:
    if own is None or len(own) != len(shape):
        return shape
    return tuple(b if a is None else a for a, b in zip(shape, own, strict=True))


def _own_names(model: ir.Model) -> dict[str, Dims]:
    """Replace names that inference made up, in place, by those of the value and axis that they come from.

    Returns:
        The dims of the values that such a name comes from. What joins sizes gives none: it takes on better names than
        the ones it has now as soon as what it joins has them.
    """
    own: dict[str, str | None] = dict.fromkeys(
        size for value in model.graph.inputs for size in dims(value) if isinstance(size, str)
    )
    found: dict[str, Dims] = {}
    for node in model.graph:
        for value in node.outputs:
            if value.shape is None or value.is_graph_output():
                continue
            shape = list(dims(value))
            joins = node.op_type in JOINING or not is_plain(str(value.name))
            for axis, size in enumerate(shape):
                if isinstance(size, str) and _MADE_UP.fullmatch(size):
                    if size not in own:
                        own[size] = None if joins else f"size {axis} of {value.name}"
                        found |= {} if joins else {str(value.name): ()}
                    shape[axis] = own[size] or size
            value.shape = ir.Shape(shape)
            if str(value.name) in found:
                found[str(value.name)] = tuple(shape)
    return found


def _keep(model: ir.Model, inferred: Mapping[str, tuple[int, Dims | None]]) -> None:
    values = {v.name: v for node in model.graph for v in node.outputs}
    for name, (elem_type, shape) in inferred.items():
        value = values.get(name)
        if value is None:
            continue
        if elem_type:
            value.type = ir.TensorType(ir.DataType(elem_type))
        if shape is not None and not _is_declared(value, len(shape)):
            value.shape = ir.Shape(list(shape))


def _forget_impossible(model: ir.Model) -> None:
    """Declare no sizes of what a Reshape to computed ones gives in another number of axes than is declared."""
    for value in model.graph.outputs:
        node = value.producer()
        reshapes = node is not None and not node.domain and node.op_type == "Reshape"
        target = node.inputs[1] if node is not None and reshapes and len(node.inputs) > 1 else None
        entries = None if target is None or target.shape is None or len(target.shape) != 1 else target.shape[0]
        if isinstance(entries, int) and value.shape is not None and len(value.shape) != entries:
            value.shape = ir.Shape([None] * entries)


def _forget_made_up(model: ir.Model, inferred: Mapping[str, tuple[int, Dims | None]]) -> None:
    """Forget names that inference once made up for values of which it says nothing now: it gives them to others."""
    for value in (value for node in model.graph for value in node.outputs):
        is_said = inferred.get(str(value.name), (0, None))[1] is not None
        if value.shape is not None and not is_said and not value.is_graph_output():
            value.shape = ir.Shape([None if isinstance(d, str) and _MADE_UP.fullmatch(d) else d for d in dims(value)])


def _is_declared(value: ir.Value, rank: int) -> bool:
    """Say whether a value is an output with a shape: that stays as it was written, unless its rank cannot be."""
    return value.is_graph_output() and value.shape is not None and len(value.shape) == rank


def concrete_shapes(model: ir.Model, input_shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Find the shape of every value at concrete input sizes.

    Args:
        model: A normalised model; it is left as it is.
        input_shapes: The size of every input.

    Returns:
        Shapes by value name, initializers included; values whose shape stays unknown are left out.

    Raises:
        InputShapeError: The sizes do not fit the network.
    """
    shapes = {str(v.name): _static(v.shape) for v in model.graph.initializers.values()}
    shapes.update({name: tuple(sizes) for name, sizes in input_shapes.items()})
    shapes.update(_inferred_sizes(model, input_shapes))
    names = [str(v.name) for node in model.graph for v in node.outputs if v.name]
    if all(name in shapes for name in names):
        return shapes
    # What is dynamic in the model may be computed from sizes that are known now.
    static = model.clone()
    with _input_shapes(static, input_shapes):
        infer_shapes(static)
        while fold_shape_values(static):
            RemoveUnusedNodesPass()(static)
            for value in static.graph.outputs:
                value.shape = None
            infer_shapes(static)
        found = {str(v.name): v.shape for node in static.graph for v in node.outputs if v.shape is not None}
    return {name: _static(shape) for name, shape in found.items() if _is_static(tuple(shape))} | shapes  # type: ignore[arg-type]


def _inferred_sizes(model: ir.Model, input_shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    with _input_shapes(model, input_shapes):
        try:
            inferred = _inferred(model)
        except onnx.shape_inference.InferenceError as error:
            raise InputShapeError(f"the input sizes {dict(input_shapes)} do not fit the network: {error}") from error
    return {name: shape for name, (_, shape) in inferred.items() if shape is not None and _is_static(shape)}  # type: ignore[misc]


def _static(shape: ir.Shape | None) -> tuple[int, ...]:
    return tuple(int(d) for d in shape) if shape is not None else ()  # type: ignore[arg-type]


def _is_static(shape: Dims) -> bool:
    return all(isinstance(d, int) for d in shape)


@contextmanager
def _input_shapes(model: ir.Model, input_shapes: Mapping[str, Sequence[int]]) -> Iterator[None]:
    inputs = [v for v in model.graph.inputs if v.name in input_shapes]
    declared = [(v, v.shape) for v in [*inputs, *model.graph.outputs]]
    for value in inputs:
        value.shape = ir.Shape(list(input_shapes[str(value.name)]))
    # A declared output such as ("batch", 1000) would win over the concrete one.
    for value in model.graph.outputs:
        value.shape = None
    try:
        yield
    finally:
        for value, shape in declared:
            value.shape = shape


def _inferred(model: ir.Model, stated: Mapping[str, Dims] | None = None) -> dict[str, tuple[int, Dims | None]]:
    """Element type and dims of each node output, from ONNX's inference on a proto without large weights.

    Args:
        model: The model.
        stated: Dims of values of which more is known than inference finds.
    """
    inferred = onnx.shape_inference.infer_shapes(
        _light_proto(model, stated or {}), check_type=False, strict_mode=False, data_prop=True
    )
    return {
        info.name: (info.type.tensor_type.elem_type, _dims(info.type.tensor_type))
        for info in [*inferred.graph.value_info, *inferred.graph.output]
    }


def _dims(tensor_type: onnx.TypeProto.Tensor) -> Dims | None:
    if not tensor_type.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor_type.shape.dim)


def _stand_in(node: ir.Node) -> onnx.NodeProto:
    """Serialise a node; what ONNX infers nothing for and keeps its input's shape becomes an Identity."""
    proto = ir.serde.serialize_node(node)
    if node.domain == "" and node.op_type in _UNINFERRED and proto.input and proto.output:
        return onnx.helper.make_node("Identity", proto.input[:1], proto.output[:1], name=proto.name)
    return proto


def _undeclared(output: ir.Value) -> onnx.ValueInfoProto:
    """Serialise an output without its shape, so that it is inferred; with it where nodes read what is declared, too."""
    proto = ir.serde.serialize_value(output)
    if not output.uses() and proto.type.HasField("tensor_type"):
        proto.type.tensor_type.ClearField("shape")
    return proto


def _light_proto(model: ir.Model, stated: Mapping[str, Dims]) -> onnx.ModelProto:
    """Serialise the model with its large initializers as inputs, and without shapes known before.

    Only what operators of other domains give keeps what is known of it: nothing is inferred of them.
    """
    graph = onnx.GraphProto(name=model.graph.name or "graph")
    for value in model.graph.inputs:
        if not value.is_initializer():
            graph.input.append(ir.serde.serialize_value(value))
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes <= _SMALL_BYTES:
            graph.initializer.append(ir.serde.serialize_tensor(tensor))
            graph.initializer[-1].name = str(value.name)
        elif tensor is not None:
            graph.input.append(
                onnx.helper.make_tensor_value_info(str(value.name), int(tensor.dtype), list(tensor.shape.numpy()))
            )
    graph.node.extend(_stand_in(node) for node in model.graph)
    graph.output.extend(_undeclared(value) for value in model.graph.outputs)
    graph.value_info.extend(
        ir.serde.serialize_value(value)
        for node in model.graph
        if node.domain
        for value in node.outputs
        if value.shape is not None and not value.is_graph_output()
    )
    graph.value_info.extend(
        onnx.helper.make_tensor_value_info(str(value.name), int(value.dtype), stated[str(value.name)])
        for node in model.graph
        for value in node.outputs
        if value.name in stated and value.dtype is not None
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    return onnx.ModelProto(ir_version=max(model.ir_version, 4), graph=graph, opset_import=opsets)
