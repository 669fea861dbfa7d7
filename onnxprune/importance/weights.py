"""The tensors that criteria look at: weights of contractions, with the axes that carry units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap

# The inputs of each contraction that can be its weight.
_WEIGHT_INPUTS = {
    **{"Conv": {1}, "ConvTranspose": {1}, "Gemm": {0, 1}, "MatMul": {0, 1}, "Einsum": {0, 1, 2, 3}},
    **{"RNN": {1, 2}, "GRU": {1, 2}, "LSTM": {1, 2}},
}
_MOVES = {"Transpose", "Cast", "Identity", "Reshape", "DequantizeLinear"}


@dataclass(frozen=True)
class WeightAxis:
    """An axis of a weight that carries units.

    Attributes:
        axis: Which axis.
        units: Unit of each index, shape (size,), -1 where fixed.
        produces: Whether its slices bring channels forth (filters); the others read them.
    """

    axis: int
    units: np.ndarray
    produces: bool


@dataclass(frozen=True)
class Weight:
    """An initializer that a contraction reads, directly or through moves such as a Transpose.

    Attributes:
        value: The initializer.
        axes: Those of its axes that carry units.
    """

    value: ir.Value
    axes: tuple[WeightAxis, ...]

    @property
    def name(self) -> str:
        """Name of the initializer."""
        return str(self.value.name)

    def array(self) -> np.ndarray:
        """Return the weight in the initializer's shape, as float32 or float64; quantised ones dequantised."""
        tensor = self.value.const_value
        assert tensor is not None  # weights() gives no others
        dequantize = next((node for node, index in self.value.uses() if _dequantizes(node, index)), None)
        if dequantize is not None:
            return _dequantized(tensor.numpy(), dequantize)
        array = tensor.numpy()
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def weights(model: ir.Model, channels: ChannelMap) -> Iterator[Weight]:
    """Yield the weights that carry units; an array is read only when it is asked for."""
    filters = {_origin(model, value, axis) for value, axis in channels.outputs_of.values()}
    for name, axes in channels.axes.items():
        value = model.graph.initializers.get(name)
        if value is None or value.const_value is None or len(axes) < 2 or not _is_contracted(value):
            continue
        labelled = tuple(
            WeightAxis(axis, units, (name, axis) in filters) for axis, units in enumerate(axes) if units is not None
        )
        if labelled:
            yield Weight(value, labelled)


def over_other_axes(array: np.ndarray, axis: int) -> tuple[int, ...]:
    """Return all axes but one."""
    return tuple(i for i in range(array.ndim) if i != axis)


def _is_contracted(value: ir.Value) -> bool:
    for node, index in value.uses():
        if index in _WEIGHT_INPUTS.get(node.op_type, ()):
            return True
        if node.op_type in _MOVES and index == 0 and any(_is_contracted(output) for output in node.outputs):
            return True
    return False


def _origin(model: ir.Model, name: str, axis: int) -> tuple[str, int] | None:
    """Follow an axis of a weight back through moves, to its initializer; None where a Reshape regroups it."""
    if name in model.graph.initializers:
        return name, axis
    node = next((n for n in model.graph if any(output.name == name for output in n.outputs)), None)
    if node is None or node.op_type not in _MOVES or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    if node.op_type == "Transpose":
        rank = len(node.outputs[0].shape or ())
        axis = node.attributes.get_ints("perm", tuple(reversed(range(rank))))[axis]
    elif node.op_type == "Reshape":
        before, after = tuple(source.shape or ()), tuple(node.outputs[0].shape or ())
        if before[: axis + 1] != after[: axis + 1]:
            return None
    return _origin(model, str(source.name), axis)


def _dequantizes(node: ir.Node, index: int) -> bool:
    return node.op_type == "DequantizeLinear" and index == 0 and _constant(node, 1) is not None


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _dequantized(array: np.ndarray, node: ir.Node) -> np.ndarray:
    axis = node.attributes.get_int("axis", 1) % array.ndim
    scale, zero_point = _constant(node, 1), _constant(node, 2)
    assert scale is not None  # _dequantizes made sure
    real = array.astype(np.float32)
    if zero_point is not None:
        real -= _spread(zero_point.astype(np.float32), array.shape, axis)
    real *= _spread(scale.astype(np.float32), array.shape, axis)
    return real


def _spread(parameter: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Give a scale or zero point a shape that broadcasts: one number, one an index of the axis, or one a block."""
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim == 1:
        return parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    block = -(-shape[axis] // parameter.shape[axis])
    return np.repeat(parameter, block, axis=axis).take(range(shape[axis]), axis=axis)
