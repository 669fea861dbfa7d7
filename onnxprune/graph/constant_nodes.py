"""Compute what scatters, masks and statistics make of constants alone, and where a mask is not zero.

A bias that a part of was set to zero is a bias, and a weight that is standardised in every run is a weight. Moves of
weights (Transpose, Reshape, Cast) and elementwise arithmetic are left: channels flow through them, and surgery cuts the
weight itself. They are computed only where one of those reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxprune.graph.shape_values import add_initializer

_STATISTICS = frozenset(
    {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "ReduceL2", "ReduceMean", "ReduceSum"}
)
_FOLDED = _STATISTICS | {"CumSum", "EyeLike", "NonZero", "OneHot", "ScatterElements", "ScatterND", "Trilu"}
_READ_THROUGH = frozenset(
    {"Cast", "ConstantOfShape", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
    | {"Add", "Div", "Mul", "Pow", "Reciprocal", "Sqrt", "Sub"}
)


def fold_constant_nodes(model: ir.Model) -> bool:
    """Replace, in place, such nodes that depend on initializers alone.

    Returns:
        Whether there were any.
    """
    folded = False
    for node in list(model.graph):
        read = [output for output in node.outputs if output.uses() or output.is_graph_output()]
        if node.op_type not in _FOLDED or node.domain or read != [node.outputs[0]] or read[0].is_graph_output():
            continue
        array = _constant(node)
        if array is None:
            continue
        name = node.outputs[0].name
        constant = add_initializer(model.graph, f"{name}.folded", array)
        node.outputs[0].replace_all_uses_with(constant)
        model.graph.remove(node, safe=True)
        folded = True
    return folded


def _constant(node: ir.Node) -> np.ndarray | None:
    """Compute a node's output, None where it is no constant."""
    values = [value for value in node.inputs if value is not None]
    arrays = [_array(value) for value in values]
    feeds = {str(value.name): array for value, array in zip(values, arrays, strict=True) if array is not None}
    if not values or any(array is None for array in arrays):
        return None
    results = evaluated(node, feeds)
    return None if results is None else results[0]


def evaluated(node: ir.Node, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """Compute a node's outputs from its inputs by name; None where ONNX's own evaluator cannot."""
    opset = node.graph.opset_imports.get("", 1) if node.graph is not None else 1
    try:
        results = ReferenceEvaluator(ir.serde.serialize_node(node), opsets={"": opset}).run(None, dict(feeds))
    except Exception:
        # It stays in the graph, for onnxruntime.
        return None
    return [np.asarray(result) for result in results]


def _array(value: ir.Value) -> np.ndarray | None:
    if value.const_value is not None and value.is_initializer():
        return value.const_value.numpy()
    producer = value.producer()
    readable = producer is not None and producer.op_type in _READ_THROUGH and not producer.domain
    return _constant(producer) if producer is not None and readable else None
