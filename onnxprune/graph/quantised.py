"""Weights as the real numbers they stand for, whatever format they are stored in.

A quantised weight is an integer initializer behind a DequantizeLinear: real = (stored - zero point) * scale, with one
scale for the tensor, one for each index of an axis, or one for each block of an axis.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.graph.subgraphs import has_subgraph

# What moves or rescales a constant without mixing its entries.
MOVES = frozenset({"Transpose", "Cast", "Identity", "Reshape", "QuantizeLinear", "DequantizeLinear"})
CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose layers are measured on the device."""
# What gives something else in every run.
_RANDOM = frozenset({"Bernoulli", "Dropout", "Multinomial"})
_MOST_STEPS = 64


def origin_of(value: ir.Value | None) -> ir.Value | None:
    """Return the initializer that a value is, or is made from by moves such as a Transpose; None without one."""
    while value is not None and not value.is_initializer():
        producer = value.producer()
        if producer is None or producer.op_type not in MOVES or not producer.inputs:
            return None
        value = producer.inputs[0]
    return value


def is_computed_weight(value: ir.Value | None) -> bool:
    """Say whether a value is made of initializers alone, by arithmetic and moves as weights are; no more than a few.

    A product of constants is no such: the features of learned queries, say, which another network's activations are.
    """
    seen: set[ir.Node] = set()
    queue = [value]
    while queue:
        value = queue.pop()
        if value is None or value.is_initializer():
            continue
        node = value.producer()
        if node is None or len(seen) == _MOST_STEPS:
            return False
        if node in seen:
            continue
        if not can_be_constant(node) or node.op_type in CONTRACTIONS | {"Einsum"}:
            return False
        seen.add(node)
        queue += node.inputs
    return bool(seen)


def can_be_constant(node: ir.Node) -> bool:
    """Say whether a node gives the same in every run if what it reads does."""
    plain = node.domain == "" and not has_subgraph(node)
    return plain and bool(node.inputs) and node.op_type not in _RANDOM and not node.op_type.startswith("Random")


def reads_quantised(node: ir.Node) -> bool:
    """Say whether a DequantizeLinear takes an activation back from integers, and not a constant."""
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return node.op_type == "DequantizeLinear" and producer is not None and producer.op_type == "QuantizeLinear"


def is_quantised(model: ir.Model) -> bool:
    """Say whether a layer of a model has a quantised weight."""
    return any(
        weight is not None and weight.producer() is not None and quantised_by(origin_of(weight)) is not None
        for node in model.graph
        if node.op_type in CONTRACTIONS
        for weight in node.inputs[:2]
    )


def quantised_by(value: ir.Value | None) -> ir.Node | None:
    """Return the DequantizeLinear that reads a quantised initializer; None where it holds real numbers."""
    if value is None:
        return None
    nodes = (use.node for use in value.uses() if use.node.op_type == "DequantizeLinear" and use.idx == 0)
    return next((node for node in nodes if _constant(node, 1) is not None), None)


def real_values(value: ir.Value) -> np.ndarray:
    """Return an initializer as real numbers, float64 where it is stored so, else float32; dequantised if need be."""
    assert value.const_value is not None
    stored = value.const_value.numpy()
    node = quantised_by(value)
    if node is None:
        return stored if stored.dtype in (np.float32, np.float64) else stored.astype(np.float32)
    scale, zero_point = _parameters(node, stored.shape)
    real = stored.astype(np.float32)
    real -= zero_point
    real *= scale
    return real


def store_real_values(value: ir.Value, real: np.ndarray) -> None:
    """Set an initializer to real numbers in its own format; scale and zero point stay, what is beyond is clipped."""
    assert value.const_value is not None
    dtype = value.const_value.dtype
    node = quantised_by(value)
    if node is None:
        stored = real.astype(dtype.numpy())
    else:
        scale, zero_point = _parameters(node, real.shape)
        scaled = real.astype(np.float64) / np.where(scale == 0, 1, scale)
        # The steps of small floats are not those of integers; the cast rounds to them.
        scaled = (np.rint(scaled) if dtype.is_integer() else scaled) + zero_point
        stored = np.clip(scaled, *limits_of(dtype)).astype(dtype.numpy())
    value.const_value = ir.tensor(stored, dtype=dtype, name=value.name)


def quantised_type(node: ir.Node) -> ir.DataType:
    """Return the type that a QuantizeLinear gives, or that a DequantizeLinear reads."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    stated = zero if zero is not None or node.op_type == "QuantizeLinear" else node.inputs[0]
    if stated is not None and stated.dtype is not None:
        return stated.dtype
    return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)


def limits_of(dtype: ir.DataType) -> tuple[float, float]:
    """Return the lowest and the highest number of a type that networks are quantised to: integers, or small floats."""
    return float(dtype.min), float(dtype.max)


def _parameters(node: ir.Node, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    scale, zero_point = _constant(node, 1), _constant(node, 2)
    assert scale is not None  # quantised_by made sure
    zero = np.zeros((), np.float32) if zero_point is None else zero_point.astype(np.float32)
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    return spread(scale.astype(np.float32), shape, axis, block), spread(zero, shape, axis, block)


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.const_value is None else value.const_value.numpy()


def spread(parameter: np.ndarray, shape: tuple[int, ...], axis: int, block: int = 0) -> np.ndarray:
    """Give a scale or zero point a shape that broadcasts.

    Args:
        parameter: One number, one an index of the axis, or one a block of it.
        shape: Of the tensor that it belongs to.
        axis: The axis, which may be counted from the end.
        block: How many indices a block has; 0: there are no blocks, or as many as fit.
    """
    if parameter.size == 1:
        return parameter.reshape(())
    axis %= len(shape)
    if parameter.ndim == 1 and not block:
        return parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    block = block or -(-shape[axis] // parameter.shape[axis])
    return np.repeat(parameter, block, axis=axis).take(range(shape[axis]), axis=axis)
