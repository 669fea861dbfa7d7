"""Healed weights back into an int8 network, with scales that suit them.

Weights that were solved again have other ranges, and so has what layers give: the old scales would clip the one and
waste integers on the other. So every scale and zero point is set anew, in the form it had:

    symmetric    scale = max |x| / highest integer, zero point as it was (0)
    else         scale = (max - min) / number of steps, zero point = lowest integer - min / scale, both with 0 in range
    bias         scale = scale of what the layer reads * scale of its weight

A weight's scale is never so small that its bias would not fit into 32 bits: what is left of a dead filter has
weights near 0 and a bias all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxprune.graph import (
    CONTRACTIONS,
    Twin,
    add_initializer,
    limits_of,
    quantised_by,
    quantised_type,
    reads_quantised,
    real_values,
    spread,
    store_real_values,
    twin_of,
)
from onnxprune.healing.activations import open_values
from onnxprune.healing.moments import Samples

Range = tuple[np.ndarray, np.ndarray]
# Half of what 32 bits hold.
_LARGEST_BIAS = 2**30
# These pass integers on, and run on them only where both sides have one scale.
_PASSING = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Resize"}
)


def healed_as_floats(model: ir.Model, heal: Callable[[ir.Model], ir.Model], batches: Sequence[Samples]) -> ir.Model:
    """Return an int8 network healed as the float network that it stands for.

    Args:
        model: The int8 network, which has a twin; it is not changed.
        heal: Heals the twin.
        batches: Samples that the ranges of activations are taken on.
    """
    twin = twin_of(model)
    assert twin is not None, "what is cut from a network with a twin has one"
    return requantised(model, replace(twin, model=heal(twin.model)), batches)


def requantised(model: ir.Model, healed: Twin, batches: Sequence[Samples]) -> ir.Model:
    """Return an int8 network with the weights of its healed float twin and scales to suit them.

    Args:
        model: The int8 network; it is not changed.
        healed: Its twin with other weights.
        batches: Samples that the ranges of activations are taken on.
    """
    result = model.clone()
    real = healed.model.graph.initializers
    ranges = _ranges(healed, batches)
    for nodes in _sharing(result):
        seen = [ranges[healed.values[str(node.name)]] for node in nodes if node.op_type == "QuantizeLinear"]
        low, high = np.min([low for low, _ in seen]), np.max([high for _, high in seen])
        _set_parameters(result.graph, nodes, (low, high))
    weights, biases = [], []
    for name, value in result.graph.initializers.items():
        tensor = real[name].const_value if name in real else None
        if tensor is None or value.const_value is None:
            continue
        found, node = tensor.numpy(), quantised_by(value)
        if node is None:
            if value.const_value.dtype == ir.DataType.FLOAT and found.shape == value.const_value.shape.numpy():
                store_real_values(value, found)
        elif value.const_value.dtype == ir.DataType.INT32:
            biases.append((value, node, found))
        else:
            weights.append((value, node, found))
    least = _least_scales([(node, found) for _, node, found in biases])
    for value, node, found in weights:
        _set_parameters(result.graph, [node], _weight_range(node, found), least.get(node))
        store_real_values(value, found)
    for value, node, found in biases:
        _set_bias_scale(result.graph, node)
        store_real_values(value, found)
    return result


def _ranges(twin: Twin, batches: Sequence[Samples]) -> Mapping[str, tuple[float, float]]:
    constants = twin.model.graph.initializers
    ranges = dict.fromkeys(twin.values.values(), (0.0, 0.0))
    # What is left of a branch that is gone is a constant, and is rounded as what it is added to.
    ranges |= {name: _span(constants[name]) for name in ranges if name in constants}
    names = [name for name in ranges if name not in constants]
    values_of = open_values(twin.model, names)
    for batch in batches:
        for name, array in values_of(batch.inputs).items():
            low, high = ranges[name]
            ranges[name] = min(low, float(array.min())), max(high, float(array.max()))
    return ranges


def _span(constant: ir.Value) -> tuple[float, float]:
    array = real_values(constant)
    return float(array.min()), float(array.max())


def _sharing(model: ir.Model) -> list[list[ir.Node]]:
    """Return the nodes that quantise and dequantise activations, those together that must have one scale."""
    of_scale: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear" or reads_quantised(node):
            of_scale.setdefault(_scale_name(node), []).append(node)
    joined = {name: name for name in of_scale}

    def root(name: str) -> str:
        return name if joined[name] == name else root(joined[name])

    def join(a: str, b: str) -> None:
        joined[root(a)] = root(b)

    for nodes in of_scale.values():
        for node in nodes:
            if node.op_type == "QuantizeLinear":
                for use in node.outputs[0].uses():
                    join(_scale_name(node), _scale_name(use.node))
                for before in _passed_on(node):
                    join(_scale_name(node), _scale_name(before))
    groups: dict[str, list[ir.Node]] = {}
    for name, nodes in of_scale.items():
        groups.setdefault(root(name), []).extend(nodes)
    return list(groups.values())


def _passed_on(node: ir.Node) -> list[ir.Node]:
    """Return the DequantizeLinear before an operator that passes integers on, if it has the scale of this node."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    if producer is None or producer.op_type not in _PASSING or producer.inputs[0] is None:
        return []
    before = producer.inputs[0].producer()
    if before is None or not reads_quantised(before):
        return []
    return [before] if np.array_equal(_array(before, 1), _array(node, 1)) else []


def _scale_name(node: ir.Node) -> str:
    scale = node.inputs[1]
    assert scale is not None
    return str(scale.name)


def _array(node: ir.Node, index: int) -> np.ndarray:
    value = node.inputs[index]
    assert value is not None
    assert value.const_value is not None
    array: np.ndarray = value.const_value.numpy()
    return array


def _weight_range(node: ir.Node, real: np.ndarray) -> Range:
    """Return the lowest and highest weights for each scale there is."""
    scale = _array(node, 1)
    if scale.size == 1 or scale.ndim != 1:
        return real.min(), real.max()
    axis = node.attributes.get_int("axis", 1) % real.ndim
    rest = tuple(i for i in range(real.ndim) if i != axis)
    return real.min(axis=rest), real.max(axis=rest)


def _set_parameters(
    graph: ir.Graph, nodes: Sequence[ir.Node], span: tuple[np.ndarray, np.ndarray], least: np.ndarray | None = None
) -> None:
    """Give nodes that share a scale the one for a range, in the form that it has, and not below the least."""
    scale = _array(nodes[0], 1)
    zero = _array(nodes[0], 2) if len(nodes[0].inputs) > 2 and nodes[0].inputs[2] is not None else None
    low, high = np.minimum(span[0], 0.0), np.maximum(span[1], 0.0)
    lowest, highest = limits_of(quantised_type(nodes[0]))
    if zero is None or (not zero.astype(bool).any() and lowest < 0):
        new = np.maximum(np.maximum(-low, high) / _highest(nodes[0], highest), 0.0 if least is None else least)
        point = zero
    else:
        new = np.maximum((high - low) / (highest - lowest), 0.0 if least is None else least)
        exact = lowest - low / np.where(new > 0, new, 1.0)
        point = np.broadcast_to(np.clip(np.rint(exact), lowest, highest).astype(zero.dtype), zero.shape)
    # Where nothing was ever seen the old scale is as good as any.
    chosen = np.broadcast_to(np.where(new > 0, new, scale), scale.shape).astype(scale.dtype)
    _set_input(graph, nodes, 1, chosen)
    if zero is not None and point is not None and not np.array_equal(point, zero):
        _set_input(graph, nodes, 2, point)


def _highest(node: ir.Node, largest: float) -> float:
    """Return the number that the largest weight gets: half the range where the network keeps to 7 bits.

    Kernels without VNNI add up pairs of products in 16 bits, which 8-bit weights overflow (onnxruntime: reduce_range).
    """
    stored = node.inputs[0].const_value if node.inputs[0] is not None else None
    dtype = quantised_type(node)
    if not dtype.is_integer() or dtype.bitwidth < 8:
        return largest
    half = (largest + 1) // 2
    return half if stored is not None and np.abs(stored.numpy().astype(np.int64)).max(initial=0) <= half else largest


def _set_input(graph: ir.Graph, nodes: Sequence[ir.Node], index: int, array: np.ndarray) -> None:
    """Set a constant that nodes read; where others read it too, they keep the old one."""
    made: dict[str, ir.Value] = {}
    for node in nodes:
        value = node.inputs[index]
        assert value is not None
        name = str(value.name)
        if {use.node for use in value.uses()} <= set(nodes):
            value.const_value = ir.tensor(np.array(array, order="C"), name=name)
            continue
        if name not in made:
            made[name] = add_initializer(graph, f"{name}.healed", np.array(array, order="C"))
        node.replace_input_with(index, made[name])


def _least_scales(biases: Sequence[tuple[ir.Node, np.ndarray]]) -> dict[ir.Node, np.ndarray]:
    """Return the least scale of each weight, by the node that dequantises it, in which its biases can be written."""
    least: dict[ir.Node, np.ndarray] = {}
    for node, bias in biases:
        for read, weight in _layers(node):
            scale = _array(weight, 1)
            needed = np.abs(bias.reshape(-1)) / (_LARGEST_BIAS * spread(_array(read, 1), (1,), 0))
            if scale.size != needed.size:
                needed = np.full(scale.size, needed.max(initial=0.0))
            least[weight] = np.maximum(least.get(weight, 0.0), needed.reshape(scale.shape))
    return least


def _layers(bias: ir.Node) -> list[tuple[ir.Node, ir.Node]]:
    """Return what dequantises the input and the weight of each layer that adds this dequantised bias."""
    found = []
    for use in bias.outputs[0].uses():
        read, weight = (value.producer() if value is not None else None for value in use.node.inputs[:2])
        if use.node.op_type not in CONTRACTIONS or use.idx != 2 or read is None or weight is None:
            continue
        if read.op_type == weight.op_type == "DequantizeLinear":
            found.append((read, weight))
    return found


def _set_bias_scale(graph: ir.Graph, node: ir.Node) -> None:
    """Give a bias the scale in which its layer adds up, where the layer is known."""
    for read, weight in _layers(node)[:1]:
        scale = _array(node, 1)
        product = spread(_array(read, 1), (1,), 0) * _array(weight, 1)
        shaped = np.broadcast_to(np.asarray(product), scale.shape) if scale.size > 1 or product.size == 1 else None
        if shaped is not None:
            _set_input(graph, [node], 1, shaped.reshape(scale.shape).astype(scale.dtype))
