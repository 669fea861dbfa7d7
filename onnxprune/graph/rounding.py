"""Quantised models without their rounding, for comparisons that a single rounding step would spoil.

    QuantizeLinear      clip(x / scale + zero point, lowest, highest), not rounded
    DequantizeLinear    (x - zero point) * scale

Quantised weights stay as they are. What runs between the two, such as a MaxPool on integers, runs on floats.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.graph.quantised import limits_of, origin_of, quantised_type, spread
from onnxprune.graph.shape_values import add_initializer


def without_rounding(model: ir.Model) -> ir.Model | None:
    """Return a copy that does not round activations, with the same names; None if a scale is computed, or of blocks."""
    copy = model.clone()
    floats: set[str] = set()
    for node in list(copy.graph):
        quantises, dequantises = (node.op_type == op for op in ("QuantizeLinear", "DequantizeLinear"))
        if dequantises and origin_of(node.inputs[0]) is not None:
            continue
        if quantises or dequantises:
            if not all(value is None or _is_parameter(value) for value in node.inputs[1:]):
                return None
            name = str(node.outputs[0].name)
            _replace(copy.graph, node, _quantised(copy.graph, node) if quantises else _dequantised(copy.graph, node))
            floats |= {name} if quantises else set()
        elif any(value is not None and value.name in floats for value in node.inputs):
            floats |= {str(value.name) for value in node.outputs}
            _follow(copy.graph, node)
    return copy


def _is_parameter(value: ir.Value) -> bool:
    """Say whether a scale or zero point is a constant, of the tensor or of each index of an axis."""
    return value.const_value is not None and len(value.const_value.shape) <= 1


def _follow(graph: ir.Graph, node: ir.Node) -> None:
    """Let a node that ran on integers run on floats."""
    for index, value in enumerate(node.inputs):
        tensor = value.const_value if value is not None else None
        if tensor is not None and tensor.dtype in (ir.DataType.UINT8, ir.DataType.INT8):
            array = tensor.numpy().astype(np.float32)
            node.replace_input_with(index, add_initializer(graph, f"{node.name}.unrounded_{index}", array))
    for output in node.outputs:
        output.type = ir.TensorType(ir.DataType.FLOAT)


def _quantised(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    scale, zero_point = _parameters(node)
    low, high = limits_of(quantised_type(node))
    return [
        _node(graph, node, "Div", scale),
        _node(graph, node, "Add", zero_point),
        _node(graph, node, "Max", np.array(low)),
        _node(graph, node, "Min", np.array(high)),
    ]


def _dequantised(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    scale, zero_point = _parameters(node)
    return [_node(graph, node, "Sub", zero_point), _node(graph, node, "Mul", scale)]


def _parameters(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and zero point, in shapes that broadcast."""
    scale = node.inputs[1]
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    shape = node.outputs[0].shape
    assert scale is not None
    assert scale.const_value is not None
    axis = node.attributes.get_int("axis", 1)
    like = tuple(1 for _ in shape) if shape is not None else (1,)
    stored = zero_point.const_value if zero_point is not None else None
    zero = stored.numpy().astype(np.float32) if stored is not None else np.zeros((), np.float32)
    real = scale.const_value.numpy().astype(np.float32)
    return spread(real, like, axis), spread(zero, like, axis)


def _node(graph: ir.Graph, before: ir.Node, op_type: str, constant: np.ndarray) -> ir.Node:
    """Make a node that takes the value before it as its first operand, which `_replace` sets."""
    name = f"{before.name}.{op_type}"
    node = ir.node(op_type, [None, add_initializer(graph, f"{name}.constant", np.asarray(constant, np.float32))])
    node.name, node.outputs[0].name = name, f"{name}.output"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node


def _replace(graph: ir.Graph, old: ir.Node, chain: list[ir.Node]) -> None:
    """Put a chain of nodes in the place of one, under the name of its output."""
    value, output = old.inputs[0], old.outputs[0]
    for node in chain:
        node.replace_input_with(0, value)
        graph.insert_before(old, node)
        value = node.outputs[0]
    assert value is not None
    name, value.shape = output.name, output.shape
    output.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    value.name = name
