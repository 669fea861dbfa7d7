"""LayerNormalization over a part of its channels, in a network of full width: what a narrower embedding is proved by.

With m the mask of the K channels that stay, over the last axis,

    mean = sum(m x) / K,   d = m (x - mean),   y = scale d / sqrt(sum(d^2) / K + epsilon) + bias

and without the mean for an RMSNormalization.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.channels.map import ChannelMap
from onnxprune.graph.shape_values import add_initializer

_NORMS = frozenset({"LayerNormalization", "RMSNormalization"})


def normalise_what_stays(model: ir.Model, channels: ChannelMap, keep: np.ndarray) -> None:
    """Rewrite, in place, the normalisations whose channels are not all kept.

    Args:
        model: A copy of the analysed model.
        channels: Its analysis.
        keep: Whether each unit stays, shape (units,).
    """
    for node in list(model.graph):
        value = node.inputs[0] if node.op_type in _NORMS else None
        axes = channels.axes.get(str(node.outputs[0].name), ()) if value is not None else ()
        units = axes[-1] if axes else None
        if value is None or units is None:
            continue
        mask = ~((units >= 0) & ~keep[np.maximum(units, 0)])
        if not mask.all():
            _rewrite(model, node, mask)


def _rewrite(model: ir.Model, node: ir.Node, mask: np.ndarray) -> None:
    x = node.inputs[0]
    assert x is not None
    dtype = x.dtype.numpy() if x.dtype is not None else np.float32

    def constant(what: str, array: object) -> ir.Value:
        return add_initializer(model.graph, f"{node.name}.{what}", np.asarray(array))

    def put(op_type: str, *inputs: ir.Value) -> ir.Value:
        new = ir.node(op_type, list(inputs))
        new.name = f"{node.name}.{len(made)}"
        new.outputs[0].name = f"{new.name}_output"
        model.graph.insert_before(node, new)
        made.append(new)
        return new.outputs[0]

    made: list[ir.Node] = []
    kept, last = constant("mask", mask.astype(dtype)), constant("axis", np.array([-1]))
    count = constant("count", np.asarray(mask.sum(), dtype=dtype))
    if node.op_type == "LayerNormalization":
        mean = put("Div", put("ReduceSum", put("Mul", x, kept), last), count)
        x = put("Sub", x, mean)
    centred = put("Mul", x, kept)
    variance = put("Div", put("ReduceSum", put("Mul", centred, centred), last), count)
    epsilon = constant("epsilon", np.asarray(node.attributes.get_float("epsilon", 1e-5), dtype=dtype))
    y = put("Div", centred, put("Sqrt", put("Add", variance, epsilon)))
    for op_type, value in zip(("Mul", "Add"), node.inputs[1:], strict=False):
        y = put(op_type, y, value) if value is not None else y
    node.outputs[0].replace_all_uses_with(y)
    model.graph.remove(node, safe=True)
