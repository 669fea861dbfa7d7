"""QuantizeLinear and DequantizeLinear, so that networks quantised in QDQ form can be run and trained.

A quantised tensor is kept as floats that hold whole numbers, and rounding passes gradients on as if it were
not there (straight-through), within the quantised range.
"""

from __future__ import annotations

from functools import partial

import onnx_ir as ir
import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter

_RANGES = {
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT16: (0, 65535),
    ir.DataType.INT16: (-32768, 32767),
}


@converter("QuantizeLinear", since=10)
def _quantize(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("block_size", 0):
        raise NotImplementedError("block-wise quantisation is not supported")
    data_type = ir.DataType(node.attributes.get("output_dtype", 0) or ir.DataType.UINT8)
    if len(node.input_values) > 2 and node.input_values[2]:
        zero_point = graph.initializers.get(node.input_values[2])
        if zero_point is None:
            raise NotImplementedError("a zero point that is no initializer is not supported")
        data_type = ir.DataType(zero_point.proto.data_type)
    if data_type not in _RANGES:
        raise NotImplementedError(f"quantisation to {data_type.name} is not supported")
    low, high = _RANGES[data_type]
    axis = node.attributes.get("axis", 1)
    return apply(node, graph, partial(quantize, axis=axis, low=low, high=high))


@converter("DequantizeLinear", since=10)
def _dequantize(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("block_size", 0):
        raise NotImplementedError("block-wise quantisation is not supported")
    return apply(node, graph, partial(dequantize, axis=node.attributes.get("axis", 1)))


def quantize(
    x: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor | None = None,
    *,
    axis: int,
    low: int,
    high: int,
) -> torch.Tensor:
    """Return round(x / scale) + zero_point limited to [low, high], as floats."""
    scaled = x / _along(scale, x, axis)
    rounded = scaled + (scaled.round() - scaled).detach()
    if zero_point is not None:
        rounded = rounded + _along(zero_point, x, axis).to(x.dtype)
    return rounded.clamp(low, high)


def dequantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None = None, *, axis: int
) -> torch.Tensor:
    """Return (x - zero_point) * scale, for each tensor or each index of an axis."""
    numbers = x.to(scale.dtype)
    if zero_point is not None:
        numbers = numbers - _along(zero_point, x, axis).to(scale.dtype)
    return numbers * _along(scale, x, axis)


def _along(parameter: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    if parameter.numel() == 1:
        return parameter.reshape(())
    return parameter.reshape([-1] + [1] * (x.ndim - 1 - axis % x.ndim))
