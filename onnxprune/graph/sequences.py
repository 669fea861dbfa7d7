"""A sequence of parts that are taken out by number is a Split: `chunk` and `split`, as PyTorch's exporter writes them.

Inference gives the parts of a sequence one size, whatever their sizes are.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.graph.shape_values import add_initializer

_SIZES_AS_INPUT_SINCE = 13


def split_sequences(model: ir.Model) -> bool:
    """Rewrite, in place, such sequences whose parts have known sizes.

    Args:
        model: A model with inferred shapes.

    Returns:
        Whether there were any.
    """
    if model.opset_imports.get("", 0) < _SIZES_AS_INPUT_SINCE:
        return False
    changed = False
    for node in list(model.graph):
        sizes = _part_sizes(node) if node.op_type == "SplitToSequence" and node.domain == "" else None
        takers = [use.node for use in node.outputs[0].uses()]
        parts = [_part(taker, len(sizes)) for taker in takers] if sizes is not None else [None]
        if sizes is None or None in parts or node.outputs[0].is_graph_output():
            continue
        if any(taker.graph is not node.graph for taker in takers):
            # A branch or a loop takes them.
            continue
        lengths = add_initializer(model.graph, f"{node.name}.sizes", np.array(sizes, dtype=np.int64))
        axis = {"axis": node.attributes.get_int("axis", 0)}
        split = ir.node("Split", [node.inputs[0], lengths], axis, num_outputs=len(sizes), name=str(node.name))
        for part, output in enumerate(split.outputs):
            output.name = f"{node.outputs[0].name}.{part}"
        model.graph.insert_before(node, split)
        for taker, taken in zip(takers, parts, strict=True):
            taker.outputs[0].replace_all_uses_with(split.outputs[taken or 0])
        model.graph.remove([*takers, node], safe=True)
        changed = True
    return changed


def _part_sizes(node: ir.Node) -> list[int] | None:
    """Return the sizes of the parts; None where they are not known, or the axis goes."""
    value, lengths = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if value is None or value.shape is None or lengths is None or lengths.const_value is None:
        return None
    wanted = lengths.const_value.numpy()
    if wanted.ndim == 1:
        return [int(size) for size in wanted]
    whole = value.shape[node.attributes.get_int("axis", 0)]
    if not isinstance(whole, int):
        return None
    ends = range(int(wanted), whole + int(wanted), int(wanted))
    return [min(int(wanted), whole - end + int(wanted)) for end in ends]


def _part(node: ir.Node, count: int) -> int | None:
    """Return which part a node takes; None where that is not known, or it does something else."""
    position = node.inputs[1] if node.op_type == "SequenceAt" else None
    if position is None or position.const_value is None or node.outputs[0].is_graph_output():
        return None
    return int(position.const_value.numpy()) % count
