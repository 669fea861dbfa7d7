"""The graphs that a node holds, such as the branches of an If."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

_HOLDING = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the graphs that a node holds; not those that nodes in them hold."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def has_subgraph(node: ir.Node) -> bool:
    """Say whether a node holds a graph."""
    return any(attribute.type in _HOLDING for attribute in node.attributes.values())
