"""LayerNormalization over a part of its channels, in a network of full width: what a narrower embedding is proved by.

With m the mask of the K channels that stay, over the last axis,

    mean = sum(m x) / K,   d = m (x - mean),   y = scale d / sqrt(sum(d^2) / K + epsilon) + bias

and without the mean for an RMSNormalization. Where it is spelled out, each ReduceMean over the C channels x becomes

    mean = ReduceMean(m x) C / K

and likewise with two masks where it goes over two axes of channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxprune.channels.map import Axis, ChannelMap
from onnxprune.graph.shape_values import add_initializer

_NORMS = frozenset({"LayerNormalization", "RMSNormalization"})


def normalise_what_stays(model: ir.Model, channels: ChannelMap, keep: np.ndarray) -> None:
    """Rewrite, in place, the normalisations whose channels are not all kept.

    Args:
        model: A copy of the analysed model.
        channels: Its analysis.
        keep: Whether each unit stays, shape (units,).
    """
    nodes = list(model.graph)
    # Rewriting renames what nodes read.
    averaged = {n: str(n.inputs[0].name) for n in nodes if n.op_type == "ReduceMean" and n.inputs[0] is not None}
    for node in nodes:
        if node in averaged:
            _average_what_stays(model, node, channels.axes.get(averaged[node], ()), keep)
        value = node.inputs[0] if node.op_type in _NORMS else None
        axes = channels.axes.get(str(node.outputs[0].name), ()) if value is not None else ()
        units = axes[-1] if axes else None
        if value is None or units is None:
            continue
        mask = _stays(units, keep)
        if not mask.all():
            _rewrite(model, node, mask)


def _stays(units: np.ndarray, keep: np.ndarray) -> np.ndarray:
    mask: np.ndarray = ~((units >= 0) & ~keep[np.maximum(units, 0)])
    return mask


def _average_what_stays(model: ir.Model, node: ir.Node, axes: tuple[Axis, ...], keep: np.ndarray) -> None:
    if not axes:
        # Nothing is known of what it averages, as of sizes and scores without channels, or it is silenced by now.
        return
    x, y = node.inputs[0], node.outputs[0]
    dtype = x.dtype.numpy() if x is not None and x.dtype is not None else np.float32
    kept = {axis: _stays(units, keep) for axis in _averaged(node, len(axes)) if (units := axes[axis]) is not None}
    masks = {axis: mask for axis, mask in kept.items() if not mask.all()}
    if x is None or not masks:
        return
    factor = 1.0
    for axis, mask in masks.items():
        shape = [-1 if other == axis else 1 for other in range(len(axes))]
        masking = add_initializer(model.graph, f"{node.name}.mask_{axis}", mask.astype(dtype).reshape(shape))
        x = _put(model, node, "Mul", [x, masking], f"{node.name}.masked_{axis}", before=True)
        factor *= len(mask) / mask.sum()
    node.replace_input_with(0, x)
    constant = add_initializer(model.graph, f"{node.name}.factor", np.asarray(factor, dtype=dtype))
    scaled = _put(model, node, "Mul", [y, constant], f"{node.name}.scaled", before=False)
    _stand_in_for(y, scaled)
    scaled.producer().replace_input_with(0, y)  # type: ignore[union-attr]


def _averaged(node: ir.Node, rank: int) -> list[int]:
    """Return the axes that a ReduceMean goes over; none where they are not known, and so fixed."""
    given: Sequence[int] | None = node.attributes.get_ints("axes", None)
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        tensor = node.inputs[1].const_value
        if tensor is None:
            return []
        given = [int(axis) for axis in tensor.numpy().flat]
    if not given:
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in given)


def _stand_in_for(old: ir.Value, new: ir.Value) -> None:
    """Let whatever reads a value read another, the caller too, who asks for outputs by name."""
    if old.is_graph_output():
        name, old.name = str(old.name), f"{old.name}_before"
        new.name, new.type, new.shape = name, old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def _put(
    model: ir.Model, beside: ir.Node, op_type: str, inputs: list[ir.Value], name: str, *, before: bool
) -> ir.Value:
    new = ir.node(op_type, inputs)
    new.name = name
    output = new.outputs[0]
    output.name = f"{name}_output"
    (model.graph.insert_before if before else model.graph.insert_after)(beside, new)
    return output


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
    _stand_in_for(node.outputs[0], y)
    model.graph.remove(node, safe=True)
