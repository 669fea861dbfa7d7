"""Run labels through a node: by its operator's rule, or by fixing whatever a node without one reads."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels, MisfitError
from onnxprune.channels.registry import flow_of
from onnxprune.errors import ModelError
from onnxprune.graph.sizes import dims
from onnxprune.graph.subgraphs import has_subgraph, subgraphs


def flow_through(node: ir.Node, labels: Labels) -> None:
    """Set the labels of a node's outputs, and tie or fix those of its inputs.

    Args:
        node: The node; what it reads was made before.
        labels: The run's state.

    Raises:
        ModelError: The sizes of what it reads do not fit each other.
    """
    rule = flow_of(node)
    unknown_rank = [v for v in [*node.inputs, *node.outputs] if v is not None and v.shape is None and v.name]
    holds_graphs = has_subgraph(node)
    what = f"{node.domain + ':' if node.domain else ''}{node.op_type} '{node.name}'"
    if rule is None or unknown_rank or holds_graphs:
        if holds_graphs:
            reason, hint = f"{what} has subgraphs, and what they read stays as it is", hints.SUBGRAPH
        elif unknown_rank and rule is not None:
            reason, hint = f"{what} has a tensor of unknown rank, '{unknown_rank[0].name}'", hints.RANK
        else:
            reason, hint = f"{what} is an operator the analysis does not know", hints.RULE
        labels.pin_all([*node.inputs, *_captured(node)], reason, hint)
        for output in node.outputs:
            labels.set(output, (None,) * len(dims(output)))
        return
    try:
        rule(node, labels)
    except MisfitError as error:
        raise ModelError(f"the model is not valid: {error} at {what}; export it again") from error


def _captured(node: ir.Node) -> Iterable[ir.Value]:
    """Values of outer graphs that a node's subgraphs read."""
    for graph in subgraphs(node):
        for inner in graph.all_nodes():
            yield from (v for v in inner.inputs if v is not None and v.graph is not graph)
        yield from (v for v in graph.outputs if v.graph is not graph)
