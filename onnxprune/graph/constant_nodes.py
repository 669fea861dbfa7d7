"""Compute what scatters and masks make of constants alone: a bias that a part of was set to zero is a bias.

Moves of weights (Transpose, Reshape, Cast) are left: channels flow through them, and surgery cuts the weight itself.
They are computed only where a scatter reads them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxprune.graph.shape_values import add_initializer

_FOLDED = frozenset({"CumSum", "EyeLike", "OneHot", "ScatterElements", "ScatterND", "Trilu"})
_READ_THROUGH = frozenset({"Cast", "ConstantOfShape", "Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def fold_constant_nodes(model: ir.Model) -> bool:
    """Replace, in place, such nodes that depend on initializers alone.

    Returns:
        Whether there were any.
    """
    folded = False
    for node in list(model.graph):
        if node.op_type not in _FOLDED or node.domain or node.outputs[0].is_graph_output():
            continue
        array = _evaluated(node)
        if array is None:
            continue
        name = node.outputs[0].name
        constant = add_initializer(model.graph, f"{name}.folded", array)
        node.outputs[0].replace_all_uses_with(constant)
        model.graph.remove(node, safe=True)
        folded = True
    return folded


def _evaluated(node: ir.Node) -> np.ndarray | None:
    """Compute a node's output, None where it is no constant."""
    values = [value for value in node.inputs if value is not None]
    arrays = [_array(value) for value in values]
    feeds = {str(value.name): array for value, array in zip(values, arrays, strict=True) if array is not None}
    if not values or any(array is None for array in arrays):
        return None
    (result,) = ReferenceEvaluator(ir.serde.serialize_node(node)).run(None, feeds)
    return np.asarray(result)


def _array(value: ir.Value) -> np.ndarray | None:
    if value.const_value is not None and value.is_initializer():
        return value.const_value.numpy()
    producer = value.producer()
    readable = producer is not None and producer.op_type in _READ_THROUGH and not producer.domain
    return _evaluated(producer) if producer is not None and readable else None
