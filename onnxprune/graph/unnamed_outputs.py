"""Optional outputs that are given no name are left out: named, they would be asked for.

BatchNormalization before opset 14 is told by the number of its outputs whether it trains, and so takes its statistics
of what it reads.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


def drop_unnamed_outputs(model: ir.Model) -> None:
    """Leave out, in place, the last outputs of every node as far as they have no name and may be missing."""
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            count = len(node.outputs)
            if count < 2 or node.outputs[-1].name:
                continue
            optional = _optional_outputs(node, graph.opset_imports.get("", 1))
            while count > 1 and count - 1 in optional and not node.outputs[count - 1].name:
                count -= 1
            node.resize_outputs(count)


def _optional_outputs(node: ir.Node, opset: int) -> set[int]:
    """Return the positions of the outputs that an operator may be without; none for operators that ONNX has not."""
    if node.domain:
        return set()
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return set()
    return {index for index, output in enumerate(schema.outputs) if output.option == _OPTIONAL}
