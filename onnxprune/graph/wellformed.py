"""Refuse what is no valid graph, with the node and the tensor, before anything looks at it."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from onnxprune.errors import ModelFileError


def refuse_malformed(model: ir.Model, path: Path) -> None:
    """Refuse a graph that reads what nobody gives, or uses operators of a domain that it imports no version of.

    Args:
        model: As it was read; inside functions nothing is checked.
        path: Its file.

    Raises:
        ModelFileError: Names the first such node and tensor.
    """
    for node in model.graph.all_nodes():
        for value in node.inputs:
            if value is not None and not _is_given(value):
                raise ModelFileError(
                    f"'{path}' is not a valid ONNX model: {_named(node)} reads '{value.name}', which no "
                    "node, input or weight gives"
                )
        if node.domain not in model.opset_imports and (node.domain, node.op_type, node.overload) not in model.functions:
            domain = f"the domain '{node.domain}'" if node.domain else "the default operators"
            raise ModelFileError(
                f"'{path}' is not a valid ONNX model: it uses {_named(node)}, but imports no version of "
                f"{domain}; export it again, or add the opset_import"
            )
    for value in model.graph.outputs:
        if not _is_given(value):
            raise ModelFileError(f"'{path}' is not a valid ONNX model: no node gives its output '{value.name}'")


def _is_given(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _named(node: ir.Node) -> str:
    name = node.name or next((str(value.name) for value in node.outputs if value.name), "")
    return f"{node.op_type} '{name}'"
