"""Taking branches out of a graph: what `channels.branches` found empty or constant goes, biases stay as constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.channels.branches import Fates, stored_bias, unneeded
from onnxprune.graph.quantised import real_values


@dataclass(frozen=True)
class Spread:
    """A bias that has become a constant, and is to be spread over positions.

    Attributes:
        value: The initializer, of one axis.
        shape: What it is to be reshaped to.
    """

    value: ir.Value
    shape: tuple[int, ...]


def drop_branches(model: ir.Model, fates: Fates) -> list[Spread]:
    """Take out, in place, what is empty, constant or needed no more; constants stay as initializers.

    Where a bias, of a contraction or of the BatchNormalization behind it, becomes a constant it keeps its name, so that
    weights can be put back by name. That of a quantised layer becomes real numbers.

    Args:
        model: The model before anything is cut.
        fates: What becomes of it.

    Returns:
        Biases whose axes are still to be spread, once they are cut.
    """
    dead = unneeded(fates)
    spread = []
    for name, node in fates.constant.items():
        output = node.outputs[0]
        if node in fates.gone and any(use.node not in fates.gone and use.node not in dead for use in output.uses()):
            found = _constant(model, node, name)
            spread += [found] if isinstance(found, Spread) else []
            output.replace_all_uses_with(found.value if isinstance(found, Spread) else found)
    for node in list(model.graph):
        if node.op_type == "Concat" and node not in fates.gone and node not in dead:
            _leave_out(node, fates.empty)
    model.graph.remove([node for node in model.graph if node in fates.gone or node in dead], safe=True)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del model.graph.initializers[name]
    return spread


def spread_out(biases: list[Spread]) -> None:
    """Give biases their new axes, in place."""
    for bias in biases:
        assert bias.value.const_value is not None
        array = bias.value.const_value.numpy().reshape(bias.shape)
        bias.value.const_value = ir.tensor(array, name=bias.value.name)
        bias.value.shape = ir.Shape(array.shape)


def _constant(model: ir.Model, node: ir.Node, name: str) -> Spread | ir.Value:
    """Find the bias that a constant value is, or make an initializer of the value's own name."""
    output = node.outputs[0]
    assert output.shape is not None
    assert output.dtype is not None
    rank = len(output.shape)
    axis = rank - 1 if node.op_type == "Gemm" else 1
    shape = [1] * rank
    shape[axis] = -1
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    stored = stored_bias(bias) if bias is not None else None
    array = _folded(node) if node.op_type == "BatchNormalization" else _bias(node)
    if bias is not None and stored is not None and len(bias.uses()) == len(stored.uses()) == 1:
        # A Gemm's bias may have an axis of one entry more than the shift of the BatchNormalization behind it.
        array = array.reshape(stored.const_value.shape.numpy()) if stored.const_value is not None else array
        stored.const_value = ir.tensor(array.astype(output.dtype.numpy()), name=stored.name)
        stored.type = ir.TensorType(output.dtype)
        return Spread(stored, tuple(shape))
    size = int(output.shape[axis])  # type: ignore[arg-type]
    array = np.broadcast_to(array.reshape(-1), (size,)).reshape(shape)
    tensor = ir.tensor(array.astype(output.dtype.numpy()), name=name)
    output.name = f"{name}.gone"
    value = ir.Value(
        name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def _folded(node: ir.Node) -> np.ndarray:
    """Return what a BatchNormalization makes of a contraction's bias."""
    before = node.inputs[0]
    producer = before.producer() if before is not None else None
    assert producer is not None
    scale, shift, mean, variance = (_array(value) for value in node.inputs[1:5])
    folded: np.ndarray = (_bias(producer) - mean) * scale / np.sqrt(
        variance + node.attributes.get_float("epsilon", 1e-5)
    ) + shift
    return folded


def _bias(node: ir.Node) -> np.ndarray:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    stored = stored_bias(bias) if bias is not None else None
    return real_values(stored) if stored is not None else np.zeros(1)


def _array(value: ir.Value | None) -> np.ndarray:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def _leave_out(node: ir.Node, empty: set[str]) -> None:
    """Take the empty inputs from a Concat."""
    stay = [value for value in node.inputs if value is not None and value.name not in empty]
    for index, value in enumerate(stay):
        node.replace_input_with(index, value)
    node.resize_inputs(len(stay))
