"""The tensors that criteria look at: weights of contractions, with the axes that carry units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.graph.quantised import MOVES, real_values

# The inputs of each contraction that can be its weight.
_WEIGHT_INPUTS = {
    **{"Conv": {1}, "ConvTranspose": {1}, "DeformConv": {1}, "Gemm": {0, 1}, "MatMul": {0, 1}, "Einsum": {0, 1, 2, 3}},
    **{"RNN": {1, 2}, "GRU": {1, 2}, "LSTM": {1, 2}},
}


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
        return real_values(self.value)


def weights(model: ir.Model, channels: ChannelMap) -> Iterator[Weight]:
    """Yield the weights that carry units; an array is read only when it is asked for."""
    made_by = {str(output.name): node for node in model.graph for output in node.outputs}
    filters = {_origin(made_by, value, axis) for value, axis in channels.outputs_of.values()}
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
        if node.op_type in MOVES and index == 0 and any(_is_contracted(output) for output in node.outputs):
            return True
    return False


def _origin(made_by: Mapping[str, ir.Node], name: str, axis: int) -> tuple[str, int] | None:
    """Follow an axis of a weight back through moves, to its initializer; None where a Reshape regroups it."""
    node = made_by.get(name)
    if node is None:
        return name, axis
    if node.op_type not in MOVES or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    if node.op_type == "Transpose":
        rank = len(node.outputs[0].shape or ())
        axis = node.attributes.get_ints("perm", tuple(reversed(range(rank))))[axis]
    elif node.op_type == "Reshape":
        before, after = tuple(source.shape or ()), tuple(node.outputs[0].shape or ())
        if before[: axis + 1] != after[: axis + 1]:
            return None
    return _origin(made_by, str(source.name), axis)
