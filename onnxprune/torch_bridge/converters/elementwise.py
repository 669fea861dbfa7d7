"""Elementwise operators that onnx2torch lacks or does at needless cost: sums, powers, casts, hyperbolics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import onnx_ir as ir
import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter

_PAIRWISE: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "Sum": torch.add,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mean": torch.add,
}
_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Acosh": torch.acosh,
    "Asinh": torch.asinh,
    "Atanh": torch.atanh,
    "Cosh": torch.cosh,
    "Sinh": torch.sinh,
    "IsNaN": torch.isnan,
}
_DTYPES = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.BOOL: torch.bool,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.uint16,
    ir.DataType.UINT32: torch.uint32,
    ir.DataType.UINT64: torch.uint64,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
}


@converter("IsInf", since=10)
def _is_inf(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    negative, positive = (bool(node.attributes.get(f"detect_{sign}", 1)) for sign in ("negative", "positive"))
    return apply(node, graph, partial(is_infinite, negative=negative, positive=positive))


def is_infinite(x: torch.Tensor, *, negative: bool, positive: bool) -> torch.Tensor:
    """Say which entries are infinite, of the signs that are asked for."""
    if negative and positive:
        return torch.isinf(x)
    if not negative and not positive:
        return torch.zeros_like(x, dtype=torch.bool)
    return torch.isneginf(x) if negative else torch.isposinf(x)


@converter("Sum", "Max", "Min", "Mean")
def _n_ary(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    count = len(node.input_values) if node.operation_type == "Mean" else 1
    return apply(node, graph, partial(combine, pairwise=_PAIRWISE[node.operation_type], divisor=count))


def combine(
    *tensors: torch.Tensor, pairwise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], divisor: int
) -> torch.Tensor:
    """Reduce tensors that broadcast with each other to one, divided by `divisor`."""
    combined = reduce(pairwise, tensors)
    return combined if divisor == 1 else combined / divisor


@converter(*_FUNCTIONS)
def _function(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, _FUNCTIONS[node.operation_type])


@converter("Pow")
def _pow(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    exponent = graph.initializers.get(node.input_values[1])
    # A plain number lets PyTorch square instead of taking powers.
    is_number = exponent is not None and not exponent.proto.dims
    return apply(node, graph, power, (1,) if is_number else ())


def power(x: torch.Tensor, exponent: torch.Tensor | float) -> torch.Tensor:
    """Raise `x` to a power; the result has the type of `x`."""
    return torch.pow(x, exponent).to(x.dtype)


@converter("Cast")
def _cast(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    data_type = ir.DataType(node.attributes["to"])
    if data_type not in _DTYPES:
        raise NotImplementedError(f"PyTorch has no type for {data_type.name}")
    return apply(node, graph, partial(torch.Tensor.to, dtype=_DTYPES[data_type]))


@converter("CastLike", since=15)
def _cast_like(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, cast_like)


def cast_like(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Convert `x` to the type of `like`."""
    return x.to(like.dtype)


@converter("Identity")
def _identity(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, identity)


def identity(x: torch.Tensor) -> torch.Tensor:
    """Return `x`."""
    return x


@converter("CumSum", since=11)
def _cumsum(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    exclusive, reverse = bool(node.attributes.get("exclusive", 0)), bool(node.attributes.get("reverse", 0))
    return apply(node, graph, partial(cumulative_sum, exclusive=exclusive, reverse=reverse), (1,))


def cumulative_sum(
    x: torch.Tensor, axis: torch.Tensor | int | list[int], *, exclusive: bool, reverse: bool
) -> torch.Tensor:
    """Sum along an axis up to each entry, itself left out if `exclusive`, from the end if `reverse`."""
    dim = int(axis[0] if isinstance(axis, list) else axis)
    x = x.flip(dim) if reverse else x
    sums = torch.cumsum(x, dim, dtype=x.dtype)
    sums = sums - x if exclusive else sums
    return sums.flip(dim) if reverse else sums
