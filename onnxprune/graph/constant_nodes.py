"""Compute what scatters and masks make of constants alone: a bias that a part of was set to zero is a bias.

Moves of weights (Transpose, Reshape, Cast) are left: channels flow through them, and surgery cuts the weight itself.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxprune.graph.shape_values import add_initializer

_FOLDED = frozenset({"CumSum", "EyeLike", "OneHot", "ScatterElements", "ScatterND", "Trilu"})


def fold_constant_nodes(model: ir.Model) -> bool:
    """Replace, in place, such nodes whose inputs are all initializers.

    Returns:
        Whether there were any.
    """
    folded = False
    for node in list(model.graph):
        inputs = [value for value in node.inputs if value is not None]
        if node.op_type not in _FOLDED or node.domain or node.outputs[0].is_graph_output():
            continue
        if not inputs or not all(value.is_initializer() and value.const_value is not None for value in inputs):
            continue
        array = _evaluated(node)
        name = node.outputs[0].name
        constant = add_initializer(model.graph, f"{name}.folded", array)
        node.outputs[0].replace_all_uses_with(constant)
        model.graph.remove(node, safe=True)
        folded = True
    return folded


def _evaluated(node: ir.Node) -> np.ndarray:
    feeds = {
        str(value.name): value.const_value.numpy()
        for value in node.inputs
        if value is not None and value.const_value is not None
    }
    (result,) = ReferenceEvaluator(ir.serde.serialize_node(node)).run(None, feeds)
    return np.asarray(result)
