"""Half-precision models: a float32 copy to compute on, while the model itself stays as it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def element_types(model: ir.Model) -> frozenset[ir.DataType]:
    """Return the element types of a model's inputs, initializers and computed values."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph.all_nodes() for value in node.outputs]
    return frozenset(value.dtype for value in values if value.dtype is not None)


def in_float32(model: ir.Model) -> ir.Model:
    """Return a copy whose half-precision weights and arithmetic are float32; the model itself where it has none.

    Names are the same, weights are widened only when they are looked at, and float16 or bfloat16 inputs and outputs
    become float32.
    """
    if not element_types(model) & HALVES:
        return model
    copy = model.clone()
    _widen_values([*copy.graph.inputs, *copy.graph.initializers.values()])
    for node in copy.graph.all_nodes():
        _widen_values(node.outputs)
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in HALVES:
                node.attributes[name] = ir.AttrTensor(name, _widened(attribute.as_tensor()))
            elif name in _TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT and attribute.value in HALVES:
                node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
            elif attribute.type == ir.AttributeType.GRAPH:
                _widen_values([*attribute.as_graph().inputs, *attribute.as_graph().initializers.values()])
    return copy


def _widen_values(values: Iterable[ir.Value]) -> None:
    for value in values:
        if value.dtype in HALVES:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        if value.const_value is not None and value.const_value.dtype in HALVES:
            value.const_value = _widened(value.const_value)


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    def make() -> ir.TensorProtocol:
        return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)

    return ir.LazyTensor(make, dtype=ir.DataType.FLOAT, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)
