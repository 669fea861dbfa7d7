"""From an ONNX model to a PyTorch module, through onnx2torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx2torch.converter import convert
from onnx2torch.onnx_graph import OnnxGraph
from torch import fx, nn

from onnxprune.errors import ConversionError
from onnxprune.torch_bridge import converters as _converters  # noqa: F401  (importing registers them)
from onnxprune.torch_bridge.converters.normalization import BatchNorm
from onnxprune.torch_bridge.converters.sources import Weight
from onnxprune.torch_bridge.module import OnnxModule, Statistic
from onnxprune.torch_bridge.prepare import prepare
from onnxprune.torch_bridge.registry import find_converter


def to_torch(model: ir.Model) -> OnnxModule:
    """Convert a model to a PyTorch module whose parameters are the model's weights.

    Args:
        model: A loaded model; it is not changed, and the module shares no memory with it.

    Returns:
        The module, in eval mode. Each trained initializer is one parameter, shared where the initializer is.

    Raises:
        ConversionError: An operator or opset has no converter, or PyTorch cannot follow how a node is used.
    """
    prepared, roles = prepare(model)
    network = _convert(prepared)
    _fill_weights(network, model)
    _fill_statistics(network, model)
    _share_batch_norms(network)
    weight_names = {
        f"network.{path}.value": module.initializer
        for path, module in network.named_modules()
        if isinstance(module, Weight)
    }
    inputs = tuple(str(value.name) for value in prepared.graph.inputs)
    module = OnnxModule(
        network,
        input_names=inputs,
        output_names=tuple(str(value.name) for value in model.graph.outputs),
        weight_names=weight_names,
        statistics=tuple(_statistics(network)),
        fixed_names=roles.fixed,
    )
    return module.eval()


def _convert(prepared: ir.Model) -> fx.GraphModule:
    proto = ir.serde.serialize_model(prepared)
    try:
        return convert(proto, attach_onnx_mapping=True)
    except Exception as error:
        raise ConversionError(_blame(proto, error)) from error


def _blame(proto: Any, error: Exception) -> str:
    """Find the node that onnx2torch stumbled over, which its own message does not say."""
    opsets = {imported.domain: imported.version for imported in proto.opset_import}
    graph = OnnxGraph(proto.graph)
    for node in graph.nodes.values():
        opset = opsets.get(node.domain, 1)
        converter = find_converter(node.domain, node.operation_type, opset)
        try:
            if converter is not None:
                converter(node, graph)
        except Exception as cause:
            where = f"{node.operation_type} (node '{node.name.removeprefix('onnx/')}', opset {opset})"
            return (
                f"{where} cannot be converted to PyTorch: {cause}. `onnxprune prune` without --heal needs no conversion"
            )
    return f"the model cannot be converted to PyTorch: {error}. `onnxprune prune` without --heal needs no conversion"


def to_tensor(tensor: ir.TensorProtocol) -> torch.Tensor:
    """Copy an ONNX tensor into a PyTorch tensor of the same type and shape."""
    array = np.ascontiguousarray(tensor.numpy()).reshape(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.BFLOAT16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _initializer(model: ir.Model, name: str) -> torch.Tensor:
    value = model.graph.initializers[name].const_value
    if value is None:
        raise ConversionError(f"initializer '{name}' holds no data; load the model with onnxprune.graph.load")
    return to_tensor(value)


def _fill_weights(network: nn.Module, model: ir.Model) -> None:
    for module in network.modules():
        if isinstance(module, Weight):
            module.value = nn.Parameter(_initializer(model, module.initializer))


def _fill_statistics(network: nn.Module, model: ir.Model) -> None:
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.running_mean = _initializer(model, module.mean_name)
            module.running_var = _initializer(model, module.variance_name)
            module.num_features = module.running_mean.numel()


def _share_batch_norms(network: fx.GraphModule) -> None:
    """Let nodes that share all their initializers update the same statistics, wherever the module moves."""
    first: dict[tuple[str, ...], BatchNorm] = {}
    for path, module in list(network.named_modules()):
        if isinstance(module, BatchNorm):
            # onnx2torch attaches the names of the data, scale and bias that the node reads.
            mapping: Any = module.onnx_mapping
            _, scale, bias = mapping.inputs
            key = (str(scale), str(bias), module.mean_name, module.variance_name, str(module.eps))
            network.add_module(path, first.setdefault(key, module))


def _statistics(network: nn.Module) -> list[Statistic]:
    found = []
    for path, module in network.named_modules():
        if isinstance(module, BatchNorm):
            prefix = f"network.{path}"
            found.append(Statistic(f"{prefix}.running_mean", module.source, 3, module.mean_name))
            found.append(Statistic(f"{prefix}.running_var", module.source, 4, module.variance_name))
    return found
