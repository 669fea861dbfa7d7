"""Write a transpose of the last two axes as one node, where an exporter folds and unfolds the axes in front of them.

PyTorch's exporter transposes the keys of attention so: (b, h, n, d) -> (b h, n, d) -> (b h, d, n) -> (b, h, d, n). In
between no axis is the heads' any more; as one Transpose it is, and a Reshape less is run.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.graph.sizes import same_sizes

_BATCHED_TRANSPOSE = [0, 2, 1]


def join_transposes(model: ir.Model) -> bool:
    """Replace such triples in place.

    Returns:
        Whether there were any.
    """
    joined = False
    for node in list(model.graph):
        source = _folded(node)
        last = node.outputs[0].consumers()[0] if source is not None else None
        if source is None or last is None or last.graph is not node.graph or not _unfolds(last, source):
            continue
        assert source.shape is not None
        rank = len(source.shape)
        order = [*range(rank - 2), rank - 1, rank - 2]
        transpose = ir.node("Transpose", [source], attributes={"perm": order}, name=last.name)
        output = transpose.outputs[0]
        output.type, output.shape = last.outputs[0].type, last.outputs[0].shape
        first = node.inputs[0].producer() if node.inputs[0] is not None else None
        name = last.outputs[0].name
        model.graph.insert_before(last, transpose)
        last.outputs[0].replace_all_uses_with(output)
        model.graph.remove([last, node], safe=True)
        output.name = name
        if first is not None and not first.outputs[0].uses():
            model.graph.remove(first, safe=True)
        joined = True
    return joined


def _folded(node: ir.Node) -> ir.Value | None:
    """Return what was folded to (rows, n, d) before this node transposes the last two axes; None if it does not."""
    if node.op_type != "Transpose" or list(node.attributes.get_ints("perm", ())) != _BATCHED_TRANSPOSE:
        return None
    first = node.inputs[0].producer() if node.inputs[0] is not None else None
    if first is None or first.op_type != "Reshape" or len(node.outputs[0].consumers()) != 1:
        return None
    source, folded = first.inputs[0], first.outputs[0]
    if source is None or source.shape is None or folded.shape is None or len(source.shape) < 4:
        return None
    same = same_sizes(source.shape[-2:], folded.shape[-2:])
    return source if same and not folded.is_graph_output() and not node.outputs[0].is_graph_output() else None


def _unfolds(node: ir.Node, source: ir.Value) -> bool:
    """Say whether a node brings back the axes that `source` has in front of its last two."""
    shape, output = source.shape, node.outputs[0].shape
    if node.op_type != "Reshape" or output is None or shape is None or len(output) != len(shape):
        return False
    if node.outputs[0].is_graph_output() or not same_sizes(output[-2:], (shape[-1], shape[-2])):
        return False
    # Of the axes in front one may be dynamic: it is what is left.
    pairs = list(zip(shape[:-2], output[:-2], strict=True))
    unknown = [pair for pair in pairs if not all(isinstance(size, int) for size in pair)]
    return len(unknown) <= 1 and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
