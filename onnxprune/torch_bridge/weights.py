"""Trained values back into the ONNX graph, by initializer name."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
import torch

from onnxprune.errors import ConversionError
from onnxprune.torch_bridge.module import OnnxModule, Statistic


def read_weights(module: OnnxModule, model: ir.Model) -> dict[str, np.ndarray]:
    """Read the module's parameters and running statistics as initializers of `model`.

    Args:
        module: What `to_torch(model)` gave, trained or not.
        model: The model it was converted from.

    Returns:
        An array for each initializer that the module holds, in the initializer's type and shape.

    Raises:
        ConversionError: An initializer is missing in `model`, or has another shape.
    """
    parameters = dict(module.named_parameters())
    read = {
        initializer: _array(parameters[name], model, initializer) for name, initializer in module.weight_names.items()
    }
    for statistic in module.statistics:
        if statistic.initializer not in read:
            buffer = module.get_buffer(statistic.buffer)
            read[statistic.initializer] = _array(buffer, model, statistic.initializer)
    return read


def write_weights(module: OnnxModule, model: ir.Model) -> ir.Model:
    """Return `model` with the module's weights and running statistics; all else is the same.

    Exporters store equal tensors once. Where a statistic shared its initializer that way, with a weight or
    another statistic, and differs from it now, it gets an initializer of its own.

    Args:
        module: What `to_torch(model)` gave, trained or not.
        model: The model it was converted from; it is not changed.

    Raises:
        ConversionError: An initializer is missing in `model`, or has another shape.
    """
    arrays = read_weights(module, model)
    written = model.clone()
    for name, array in arrays.items():
        written.graph.initializers[name].const_value = ir.tensor(array, name=name)
    nodes = {str(node.name): node for node in written.graph}
    for statistic, array in _differing(module, model, arrays):
        node = nodes[statistic.node]
        name = _unused_name(written.graph, f"{statistic.initializer}.{node.name}")
        old = written.graph.initializers[statistic.initializer]
        own = ir.Value(name=name, shape=old.shape, type=old.type, const_value=ir.tensor(array, name=name))
        written.graph.register_initializer(own)
        node.replace_input_with(statistic.position, own)
    return written


def _differing(
    module: OnnxModule, model: ir.Model, arrays: dict[str, np.ndarray]
) -> Iterable[tuple[Statistic, np.ndarray]]:
    for statistic in module.statistics:
        array = _array(module.get_buffer(statistic.buffer), model, statistic.initializer)
        if not np.array_equal(array, arrays[statistic.initializer]):
            yield statistic, array


def _array(tensor: torch.Tensor, model: ir.Model, name: str) -> np.ndarray:
    value = model.graph.initializers.get(name)
    if value is None or value.const_value is None:
        raise ConversionError(f"the model has no initializer '{name}' to write a weight to; was it changed since?")
    shape = tuple(value.const_value.shape)
    if shape != tuple(tensor.shape):
        raise ConversionError(
            f"initializer '{name}' has shape {shape} in the model but {tuple(tensor.shape)} in the module; "
            "convert the pruned model again before training it"
        )
    # A contiguous copy: parameters may be laid out channels last.
    array = tensor.detach().to("cpu", torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    return np.array(array.contiguous().numpy(), dtype=value.const_value.dtype.numpy(), copy=True)


def _unused_name(graph: ir.Graph, name: str) -> str:
    while name in graph.initializers:
        name += "_"
    return name
