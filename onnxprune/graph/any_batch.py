"""Let a network that was exported for one batch size run others, where its sizes are all that says so."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.graph.shape_values import add_initializer

_BATCH = "batch"


def for_any_batch(model: ir.Model, batch: int) -> ir.Model:
    """Return a copy whose inputs and sizes leave the batch open; it shares the weights.

    Exporters write `x.flatten(1)` at a fixed batch as a Reshape to (1, -1), which nothing but that 1 ties to the batch,
    and a class token as a constant of one sample. Whether the copy then treats samples apart is not known: compare its
    outputs with the model's.

    Args:
        model: A loaded model; it is not changed.
        batch: The first size of its inputs.
    """
    copy = model.clone()
    for value in copy.graph.inputs:
        if _first(value) == batch:
            assert value.shape is not None
            value.shape = ir.Shape([_BATCH, *value.shape[1:]])
    for node in list(copy.graph):
        if node.op_type == "Reshape" and node.domain == "":
            _open_reshape(copy.graph, node, batch)
        elif node.op_type == "Concat" and batch == 1:
            _repeat_constants(copy.graph, node)
    return copy


def _first(value: ir.Value | None) -> object:
    shape = None if value is None else value.shape
    return shape[0] if shape is not None and shape.rank() > 0 else None


def _open_reshape(graph: ir.Graph, node: ir.Node, batch: int) -> None:
    """Leave open the first size that a Reshape asks for, where it is the batch or a multiple of it."""
    constant = None if node.inputs[1] is None else ir.convenience.get_const_tensor(node.inputs[1])
    sizes = [] if constant is None else constant.numpy().tolist()
    if not sizes or sizes[0] <= 0 or sizes[0] % batch:
        return
    copied = _first(node.inputs[0]) == sizes[0] and not node.attributes.get_int("allowzero", 0)
    if copied or -1 not in sizes:
        opened = np.array([0 if copied else -1, *sizes[1:]], dtype=np.int64)
        node.replace_input_with(1, add_initializer(graph, f"{node.name}.any_batch", opened))


def _repeat_constants(graph: ir.Graph, node: ir.Node) -> None:
    """Repeat constants of one sample that are concatenated with what has as many as the batch."""
    others = [value for value in node.inputs if value is not None and not value.is_initializer()]
    if not others or any(_first(value) != 1 for value in node.inputs):
        return
    for index, value in enumerate(node.inputs):
        if value is None or not value.is_initializer() or value.shape is None:
            continue
        ones = add_initializer(graph, f"{node.name}.ones", np.ones(value.shape.rank() - 1, dtype=np.int64))
        count = ir.node("Shape", [others[0]], {"start": 0, "end": 1})
        sizes = ir.node("Concat", [count.outputs[0], ones], {"axis": 0})
        repeated = ir.node("Expand", [value, sizes.outputs[0]])
        for position, made in enumerate((count, sizes, repeated)):
            made.name = made.outputs[0].name = f"{node.name}.any_batch.{index}.{position}"
        graph.insert_before(node, (count, sizes, repeated))
        node.replace_input_with(index, repeated.outputs[0])
