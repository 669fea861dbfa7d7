"""What a network costs on paper: MACs, parameters, bytes and activation memory, per node and in sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxprune.graph.inputs import resolve_input_shapes
from onnxprune.graph.macs import Axes, Shapes, mac_terms, product_of
from onnxprune.graph.quantised import quantised_by
from onnxprune.graph.shapes import concrete_shapes

_QUANTISING = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class NodeCost:
    """Cost of one node at concrete input sizes.

    Attributes:
        name: The node's name.
        op_type: Its operator.
        macs: Multiply-accumulates of a contraction (see `graph.macs`), 0 for other ops.
        parameters: Entries of the initializers it reads (a shared one counts at each reader).
        output_bytes: Size of what it writes.
        terms: The products of axis sizes that add up to `macs`, each with its axes as (value name, axis).
    """

    name: str
    op_type: str
    macs: int
    parameters: int
    output_bytes: int
    terms: tuple[tuple[int, Axes], ...] = ()


@dataclass(frozen=True)
class GraphCost:
    """Cost of a network at concrete input sizes.

    Attributes:
        macs: Multiply-accumulates of one run.
        parameters: Entries of all initializers that are weights, shared ones once; no scales, zero points or texts.
        weight_bytes: Bytes of all initializers.
        peak_activation_bytes: Most bytes of activations alive at once when nodes run in graph order.
        nodes: The nodes in graph order.
    """

    macs: int
    parameters: int
    weight_bytes: int
    peak_activation_bytes: int
    nodes: tuple[NodeCost, ...]


def graph_cost(model: ir.Model, input_shapes: Mapping[str, Sequence[int]] | None = None) -> GraphCost:
    """Count what a network costs.

    Args:
        model: A normalised model.
        input_shapes: Sizes of dynamic inputs; a dynamic batch counts as 1.

    Raises:
        InputShapeError: A dynamic size is not given.
    """
    shapes = concrete_shapes(model, resolve_input_shapes(model, input_shapes))
    nodes = tuple(_node_cost(node, shapes) for node in model.graph)
    held = [(v, v.const_value) for v in model.graph.initializers.values() if v.const_value is not None]
    return GraphCost(
        macs=sum(node.macs for node in nodes),
        parameters=sum(tensor.size for value, tensor in held if _is_parameter(value, tensor)),
        weight_bytes=sum(tensor.nbytes for _, tensor in held),
        peak_activation_bytes=_peak_activation_bytes(model, shapes),
        nodes=nodes,
    )


def _is_parameter(value: ir.Value, tensor: ir.TensorProtocol) -> bool:
    # Masks are no weights.
    if tensor.dtype in {ir.DataType.STRING, ir.DataType.BOOL}:
        return False
    uses = value.uses()
    if uses and all(use.node.op_type in _QUANTISING and use.idx > 0 for use in uses):
        return False
    return tensor.dtype.is_floating_point() or tensor.dtype.bitwidth <= 8 or quantised_by(value) is not None


def _node_cost(node: ir.Node, shapes: Shapes) -> NodeCost:
    parameters = {v.name: v.const_value.size for v in node.inputs if v is not None and v.const_value is not None}
    terms = tuple((product_of(axes, shapes), axes) for axes in mac_terms(node, shapes))
    return NodeCost(
        name=str(node.name),
        op_type=node.op_type,
        macs=sum(macs for macs, _ in terms),
        parameters=sum(parameters.values()),
        output_bytes=sum(_bytes(v, shapes) for v in node.outputs),
        terms=terms,
    )


def _bytes(value: ir.Value, shapes: Shapes) -> int:
    shape = shapes.get(str(value.name))
    if value.dtype is None or shape is None or value.dtype == ir.DataType.STRING:
        return 0
    return math.ceil(math.prod(shape) * value.dtype.bitwidth / 8)


def _peak_activation_bytes(model: ir.Model, shapes: Shapes) -> int:
    nodes = list(model.graph)
    last_use: dict[str, int] = {}
    for position, node in enumerate(nodes):
        last_use.update({str(v.name): position for v in node.inputs if v is not None})
    last_use.update({str(v.name): len(nodes) for v in model.graph.outputs})
    alive = sum(_bytes(v, shapes) for v in model.graph.inputs if not v.is_initializer())
    ends: dict[int, int] = {}
    for value in model.graph.inputs:
        if not value.is_initializer():
            ends[last_use.get(str(value.name), 0)] = ends.get(last_use.get(str(value.name), 0), 0) + _bytes(
                value, shapes
            )
    peak = alive
    for position, node in enumerate(nodes):
        for value in node.outputs:
            size = _bytes(value, shapes)
            alive += size
            end = last_use.get(str(value.name), position)
            ends[end] = ends.get(end, 0) + size
        peak = max(peak, alive)
        alive -= ends.get(position, 0)
    return peak
