"""Walk the messages of a model: its graphs and nodes, those inside If, Loop, Scan and functions too."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield every graph; functions are none."""
    yield model.graph
    for node in all_nodes(model):
        yield from _inside(node)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node."""
    queue = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while queue:
        node = queue.pop()
        yield node
        queue += [inner for graph in _inside(node) for inner in graph.node]


def _inside(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
