"""Give layers with different weights their own biases, scales, zero points and statistics.

Exporters store equal tensors once, so that two layers whose biases happen to be all zero read one tensor, or one node
that reshapes or dequantises it. Kept shared, it would tie the layers' channels, and training would tie their values.

requires  a model whose nodes have names and whose initializers have their own shapes
ensures   a constant of one entry a channel, and what only moves one, is read by layers that share their weights alone
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

from onnxprune.graph.quantised import MOVES, origin_of

_MOVES = MOVES | {"Squeeze", "Unsqueeze"}
_QUANTISING = frozenset({"QuantizeLinear", "DequantizeLinear"})


def separate_channel_constants(model: ir.Model) -> None:
    """Copy, in place, what layers share: initializers, and moves of them."""
    keys: dict[str, object] = {}
    for node in model.graph:
        keys[str(node.name)] = _weight_key(node, keys)
    # From the last to the first, so that a chain of moves is copied whole.
    for node in reversed(list(model.graph)):
        if _moved_constant(node) is not None and not node.outputs[0].is_graph_output():
            _separate_moves(model, node, keys)
    for value in list(model.graph.initializers.values()):
        if len(value.uses()) > 1 and _is_channel_constant(value):
            _separate_initializer(model, value, keys)


def _weight_key(node: ir.Node, keys: dict[str, object]) -> object:
    """Say whose channels a node's constants belong to: its own weights', else those of what it reads."""
    origins = [origin for value in node.inputs if (origin := origin_of(value)) is not None]
    weights = tuple(origin.name for origin in origins if _is_weight(origin))
    if weights:
        return weights
    for value in node.inputs:
        producer = value.producer() if value is not None else None
        if producer is not None and str(producer.name) in keys and _moved_constant(producer) is None:
            return keys[str(producer.name)]
    return node.name


def _moved_constant(node: ir.Node) -> ir.Value | None:
    """Return the channel constant that a node moves, at once or behind other moves; None if it does anything else."""
    value = node.outputs[0]
    while not value.is_initializer():
        producer = value.producer()
        if producer is None or producer.op_type not in _MOVES or producer.domain or producer.inputs[0] is None:
            return None
        if not all(other is None or other.is_initializer() for other in producer.inputs[1:]):
            return None
        value = producer.inputs[0]
    return value if _is_channel_constant(value) else None


def _is_weight(value: ir.Value) -> bool:
    return value.shape is not None and sum(1 for d in value.shape if d != 1) >= 2


def _is_channel_constant(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.size < 2 or _is_weight(value):
        return False
    return tensor.dtype.is_floating_point() or _is_quantised(value)


def _is_quantised(value: ir.Value) -> bool:
    """Say whether a vector of integers stands for real numbers, or is a zero point."""
    return len(value.shape or ()) == 1 and all(
        use.node.op_type in _QUANTISING and use.node.domain == "" and use.idx in (0, 2) for use in value.uses()
    )


def _separate_moves(model: ir.Model, node: ir.Node, keys: dict[str, object]) -> None:
    owners: dict[object, ir.Node] = {}
    for use in list(node.outputs[0].uses()):
        if use.node.graph is not model.graph:
            continue
        key = keys[str(use.node.name)]
        if key not in owners:
            owners[key] = _copy_node(model, node) if owners else node
            keys[str(owners[key].name)] = key
        if owners[key] is not node:
            use.node.replace_input_with(use.idx, owners[key].outputs[0])


def _separate_initializer(model: ir.Model, value: ir.Value, keys: dict[str, object]) -> None:
    owners: dict[object, ir.Value] = {}
    for use in list(value.uses()):
        if use.node.graph is not model.graph:
            continue
        key = keys[str(use.node.name)]
        if key not in owners:
            owners[key] = _copy_initializer(model, value, len(owners)) if owners else value
        if owners[key] is not value:
            use.node.replace_input_with(use.idx, owners[key])


def _copy_node(model: ir.Model, node: ir.Node) -> ir.Node:
    taken = {other.name for other in model.graph} | {o.name for other in model.graph for o in other.outputs}
    name = next(free for count in itertools.count(1) if (free := f"{node.name}.{count}") not in taken)
    copy = ir.node(node.op_type, node.inputs, node.attributes)
    copy.name, output = name, copy.outputs[0]
    output.name, output.shape, output.type = f"{name}_output", node.outputs[0].shape, node.outputs[0].type
    model.graph.insert_after(node, copy)
    return copy


def _copy_initializer(model: ir.Model, value: ir.Value, count: int) -> ir.Value:
    name = f"{value.name}.{count}"
    while name in model.graph.initializers:
        name += "_"
    copy = ir.Value(name=name, shape=value.shape, type=value.type, const_value=value.const_value)
    model.graph.register_initializer(copy)
    return copy
