"""An If whose condition is known is the branch that it takes: exporters write one where an axis may be squeezed."""

from __future__ import annotations

import onnx_ir as ir


def inline_decided(model: ir.Model) -> bool:
    """Put, in place, the nodes of the branch that is taken where the If was.

    Args:
        model: A model whose static sizes are folded.

    Returns:
        Whether there were any.
    """
    changed = False
    for node in list(model.graph):
        condition = node.inputs[0] if node.op_type == "If" and node.domain == "" else None
        if condition is None or condition.const_value is None or not condition.is_initializer():
            continue
        branches = [node.attributes[name].as_graph() for name in ("else_branch", "then_branch")]
        taken = branches.pop(int(bool(condition.const_value.numpy().reshape(-1)[0])))
        _inline(model.graph, node, taken)
        _forget(branches[0])
        changed = True
    return changed


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    results = list(branch.outputs)
    branch.outputs.clear()
    constants = list(branch.initializers.values())
    branch.initializers.clear()
    inner = list(branch)
    branch.remove(inner)
    for constant in constants:
        while constant.name in graph.initializers:
            constant.name = f"{constant.name}.{node.name}"
        graph.register_initializer(constant)
    for new in inner:
        graph.insert_before(node, new)
    for old, result in zip(node.outputs, results, strict=True):
        old.replace_all_uses_with(_named_as(old, result, node) if old.is_graph_output() else result, True)
    graph.remove(node, safe=True)


def _forget(branch: ir.Graph) -> None:
    """Let a branch that is not taken read nothing, so that it does not count as a reader."""
    for node in branch.all_nodes():
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)


def _named_as(output: ir.Value, result: ir.Value, before: ir.Node) -> ir.Value:
    """Return what passes a result on under the name of a graph output."""
    passed = ir.node("Identity", [result])
    assert before.graph is not None
    before.graph.insert_before(before, passed)
    stand_in, name = passed.outputs[0], output.name
    output.name = f"{name}.decided"
    stand_in.name, stand_in.type, stand_in.shape = name, output.type, output.shape
    return stand_in
