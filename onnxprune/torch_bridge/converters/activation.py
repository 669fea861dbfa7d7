"""Activations that onnx2torch lacks or gets wrong in some opset; the others are its own (see `widened`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import nn

from onnxprune.torch_bridge.registry import apply, converter, result
from onnxprune.torch_bridge.settings import as_number, settings_of


@converter("Clip", until=10)
def _clip_attributes(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    low, high = node.attributes.get("min"), node.attributes.get("max")
    return apply(node, graph, partial(clip, low=low, high=high))


@converter("Clip", since=11)
def _clip(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, clip, settings_of("Clip"))


def clip(x: torch.Tensor, low: object = None, high: object = None) -> torch.Tensor:
    """Limit `x` to [low, high]; where they cross, `high` wins."""
    if isinstance(low, torch.Tensor) and low.device == x.device:
        x = torch.maximum(x, low)
    elif low is not None:
        x = x.clamp(min=as_number(low))
    if isinstance(high, torch.Tensor) and high.device == x.device:
        return torch.minimum(x, high)
    return x if high is None else x.clamp(max=as_number(high))


@converter("PRelu")
def _prelu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, prelu)


def prelu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Multiply negative entries by `slope`, which broadcasts to `x`'s shape."""
    return torch.where(x < 0, x * slope, x)


@converter("Softmax", "LogSoftmax", "Hardmax", until=12)
def _softmax_flat(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = _SOFTMAX[node.operation_type]
    return apply(node, graph, partial(over_rest, function=function, axis=node.attributes.get("axis", 1)))


@converter("Softmax", "LogSoftmax", "Hardmax", since=13)
def _softmax(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(_SOFTMAX[node.operation_type], dim=node.attributes.get("axis", -1)))


def over_rest(x: torch.Tensor, *, function: Callable[..., torch.Tensor], axis: int) -> torch.Tensor:
    """Apply `function` to all axes from `axis` on as if they were one, as opsets before 13 do."""
    rows = prod(x.shape[: axis % x.ndim])
    return function(x.reshape(rows, -1), dim=1).reshape(x.shape)


def hardmax(x: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Return 1 at the first maximum along `dim` and 0 elsewhere."""
    return torch.zeros_like(x).scatter(dim, x.argmax(dim, keepdim=True), 1.0)


_SOFTMAX: dict[str, Callable[..., torch.Tensor]] = {
    "Softmax": torch.softmax,
    "LogSoftmax": torch.log_softmax,
    "Hardmax": hardmax,
}


@converter("Gelu", since=20)
def _gelu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(F.gelu, approximate=node.attributes.get("approximate", "none")))


@converter("HardSigmoid")
def _hard_sigmoid(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    return apply(node, graph, partial(hard_sigmoid, alpha=alpha, beta=beta))


def hard_sigmoid(x: torch.Tensor, *, alpha: float, beta: float) -> torch.Tensor:
    """Compute max(0, min(1, alpha * x + beta))."""
    if beta == 0.5 and abs(alpha - 1 / 6) < 1e-7:
        return F.hardsigmoid(x)
    return (x * alpha + beta).clamp(0.0, 1.0)


@converter("HardSwish", since=14)
def _hard_swish(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, F.hardswish)


@converter("Mish", since=18)
def _mish(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, F.mish)


@converter("Swish", since=24)
def _swish(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(swish, alpha=node.attributes.get("alpha", 1.0)))


def swish(x: torch.Tensor, *, alpha: float) -> torch.Tensor:
    """Compute x * sigmoid(alpha * x)."""
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(alpha * x)


@converter("Softplus")
def _softplus(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, F.softplus)


@converter("Selu")
def _selu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    alpha = node.attributes.get("alpha", 1.67326319217681884765625)
    gamma = node.attributes.get("gamma", 1.05070102214813232421875)
    return apply(node, graph, partial(selu, alpha=alpha, gamma=gamma))


def selu(x: torch.Tensor, *, alpha: float, gamma: float) -> torch.Tensor:
    """Compute gamma * elu(x, alpha)."""
    return gamma * F.elu(x, alpha)


@converter("ThresholdedRelu", since=10)
def _thresholded_relu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(thresholded_relu, alpha=node.attributes.get("alpha", 1.0)))


def thresholded_relu(x: torch.Tensor, *, alpha: float) -> torch.Tensor:
    """Keep entries above `alpha`, zero the others."""
    return F.threshold(x, alpha, 0.0)


@converter("Shrink", since=9)
def _shrink(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    bias, limit = node.attributes.get("bias", 0.0), node.attributes.get("lambd", 0.5)
    return apply(node, graph, partial(shrink, bias=bias, limit=limit))


def shrink(x: torch.Tensor, *, bias: float, limit: float) -> torch.Tensor:
    """Move entries beyond +-limit towards zero by `bias`, zero the others."""
    return torch.where(x > limit, x - bias, torch.where(x < -limit, x + bias, torch.zeros_like(x)))


class Dropout(nn.Dropout):
    """Dropout in train mode, the identity in eval mode; ONNX's ratio is read at conversion."""


@converter("Dropout")
def _dropout(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if len(node.output_values) > 1:
        raise NotImplementedError("Dropout whose mask is used is not supported")
    ratio = node.attributes.get("ratio", 0.5)
    if len(node.input_values) > 1 and node.input_values[1] in graph.initializers:
        ratio = float(graph.initializers[node.input_values[1]].to_numpy())
    return result(node, Dropout(ratio), node.input_values[:1])
