"""The float network that an int8 one stands for: the same names, no rounding, and no scale that ranges are bound to.

Weights become their real values. Where QuantizeLinear stood, what it does beyond rounding stays: tools drop a Relu when
a zero point at the lowest integer does its work, and a Clip at 6 likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxprune.graph.quantised import limits_of, quantised_type, reads_quantised, real_values
from onnxprune.graph.shape_values import add_initializer

_SIX, _NEAR_SIX = 6.0, 1e-3


@dataclass(frozen=True)
class Twin:
    """A float network made of an int8 one.

    Attributes:
        model: The float network; initializers have the names of the integers they were.
        values: Name of the value that each QuantizeLinear of the int8 network rounds, by the node's name.
    """

    model: ir.Model
    values: Mapping[str, str]


def twin_of(model: ir.Model) -> Twin | None:
    """Make the float network that a static int8 one in QDQ form stands for.

    Args:
        model: The int8 network; it is not changed.

    Returns:
        The twin; None where a scale is computed, of blocks, or integers are computed with outside of QDQ pairs.
    """
    copy = model.clone()
    values: dict[str, str] = {}
    for node in list(copy.graph):
        if node.op_type == "QuantizeLinear":
            real = _unrounded(copy.graph, node)
            if real is None:
                return None
            values[str(node.name)] = str(real.name)
        elif node.op_type == "DequantizeLinear" and not reads_quantised(node) and not _become_real(node):
            return None
    RemoveUnusedNodesPass()(copy)
    return Twin(copy, values)


def _become_real(node: ir.Node) -> bool:
    """Let a weight behind a DequantizeLinear be floats; say whether that can be done."""
    stored = node.inputs[0]
    if stored is None or not stored.is_initializer() or len(tuple(stored.uses())) != 1:
        return False
    if any(value is not None and value.const_value is None for value in node.inputs):
        return False
    real = real_values(stored)
    node.outputs[0].replace_all_uses_with(stored)
    stored.const_value = ir.tensor(real, name=stored.name)
    stored.type = ir.TensorType(ir.DataType.FLOAT)
    return True


def _unrounded(graph: ir.Graph, node: ir.Node) -> ir.Value | None:
    """Put what a QuantizeLinear does beyond rounding in the place of it and of what reads it."""
    value, output = node.inputs[0], node.outputs[0]
    readers = [use.node for use in output.uses()]
    if value is None or any(reader.op_type != "DequantizeLinear" for reader in readers):
        return None
    limits = _limits(node)
    if limits is None:
        return None
    real = _bounded(graph, node, value, *limits)
    for reader in readers:
        _take_over(graph, reader, real)
    return real


def _limits(node: ir.Node) -> tuple[float, float] | None:
    """Return the real numbers of the lowest and the highest integer; None where there is no one scale."""
    scale, zero = (value.const_value if value is not None else None for value in (*node.inputs[1:3], None)[:2])
    if scale is None or scale.size != 1 or zero is None or zero.size != 1:
        return None
    step, point = float(scale.numpy().item()), float(zero.numpy().item())
    low, high = limits_of(quantised_type(node))
    return step * (low - point), step * (high - point)


def _bounded(graph: ir.Graph, node: ir.Node, value: ir.Value, low: float, high: float) -> ir.Value:
    producer = value.producer()
    if low != 0.0 or (producer is not None and producer.op_type in {"Relu", "Clip"}):
        return value
    name = f"{node.name}.bounds"
    bounds: list[ir.Value | None] = [value]
    if abs(high - _SIX) < _NEAR_SIX:
        bounds += [add_initializer(graph, f"{name}.{i}", np.asarray(b, np.float32)) for i, b in enumerate((0.0, _SIX))]
    bounded = ir.node("Clip" if len(bounds) > 1 else "Relu", bounds, name=name)
    bounded.outputs[0].name = f"{name}.output"
    bounded.outputs[0].type, bounded.outputs[0].shape = value.type, value.shape
    graph.insert_before(node, bounded)
    return bounded.outputs[0]


def _take_over(graph: ir.Graph, reader: ir.Node, real: ir.Value) -> None:
    """Give what reads a DequantizeLinear the real value; outputs of the graph keep their names."""
    output = reader.outputs[0]
    if not output.is_graph_output():
        output.replace_all_uses_with(real)
        return
    same = ir.node("Identity", [real], name=f"{reader.name}.same")
    graph.insert_before(reader, same)
    name, same.outputs[0].type, same.outputs[0].shape = output.name, output.type, output.shape
    output.replace_all_uses_with(same.outputs[0], replace_graph_outputs=True)
    output.name = f"{name}.unused"
    same.outputs[0].name = name
