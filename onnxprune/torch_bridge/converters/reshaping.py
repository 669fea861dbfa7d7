"""Shapes: reading them, changing them, and tensors made from them. Sizes are kept in the CPU's memory."""

from __future__ import annotations

from functools import partial
from math import prod

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter, ints
from onnxprune.torch_bridge.settings import as_ints, as_number, settings_of


@converter("Shape")
def _shape(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return apply(node, graph, partial(shape, start=start, end=end))


def shape(x: torch.Tensor, *, start: int, end: int | None) -> torch.Tensor:
    """Return the sizes of axes `start` to `end`, on the CPU."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


@converter("Size")
def _size(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, size)


def size(x: torch.Tensor) -> torch.Tensor:
    """Return the number of elements, on the CPU."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@converter("Reshape")
def _reshape(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    allow_zero = bool(node.attributes.get("allowzero", 0))
    return apply(node, graph, partial(reshape, allow_zero=allow_zero), settings_of("Reshape"))


def reshape(x: torch.Tensor, sizes: object, *, allow_zero: bool) -> torch.Tensor:
    """Reshape; a size of 0 copies the axis unless `allow_zero`."""
    wanted = as_ints(sizes)
    if not allow_zero:
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


@converter("Flatten")
def _flatten(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(flatten, axis=node.attributes.get("axis", 1)))


def flatten(x: torch.Tensor, *, axis: int) -> torch.Tensor:
    """Make a matrix of `x`: the axes before `axis` are its rows."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@converter("Squeeze")
def _squeeze(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(squeeze, attribute=ints(node, "axes")), settings_of("Squeeze"))


def squeeze(x: torch.Tensor, axes: object = None, *, attribute: tuple[int, ...] | None) -> torch.Tensor:
    """Remove axes of size 1: the given ones, else all."""
    if axes is None and attribute is None:
        return x.squeeze()
    return x.squeeze(tuple(as_ints(attribute if axes is None else axes)))


@converter("Unsqueeze")
def _unsqueeze(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(unsqueeze, attribute=ints(node, "axes")), settings_of("Unsqueeze"))


def unsqueeze(x: torch.Tensor, axes: object = None, *, attribute: tuple[int, ...] | None) -> torch.Tensor:
    """Insert axes of size 1; negative ones count from the end of the result."""
    chosen = as_ints(attribute if axes is None else axes)
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@converter("Transpose")
def _transpose(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(transpose, order=ints(node, "perm")))


def transpose(x: torch.Tensor, *, order: tuple[int, ...] | None) -> torch.Tensor:
    """Permute the axes, by default reversing them."""
    return x.permute(order or tuple(reversed(range(x.ndim))))


@converter("Expand", since=8)
def _expand(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, expand, settings_of("Expand"))


def expand(x: torch.Tensor, sizes: object) -> torch.Tensor:
    """Broadcast `x` against a shape, both ways."""
    wanted = as_ints(sizes)
    shape = [1] * (len(wanted) - x.ndim) + list(x.shape)
    wanted = [1] * (len(shape) - len(wanted)) + wanted
    return x.expand([have if want == 1 else want for have, want in zip(shape, wanted, strict=True)])


@converter("Tile")
def _tile(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, tile, settings_of("Tile"))


def tile(x: torch.Tensor, repeats: object) -> torch.Tensor:
    """Repeat `x` along each axis."""
    return x.repeat(as_ints(repeats))


@converter("ConstantOfShape", since=9)
def _constant_of_shape(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    value = node.attributes["value"].to_torch() if "value" in node.attributes else torch.zeros(1)
    return apply(node, graph, partial(filled, value=value.reshape(())), settings_of("ConstantOfShape"))


def filled(sizes: object, *, value: torch.Tensor) -> torch.Tensor:
    """Return a tensor of a shape, every entry `value`."""
    return value.expand(as_ints(sizes)).clone()


@converter("Range", since=11)
def _range(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    constants = [graph.initializers.get(name) for name in node.input_values]
    dtype = next((constant.to_torch().dtype for constant in constants if constant is not None), None)
    return apply(node, graph, partial(count, dtype=dtype), settings_of("Range"))


def count(start: object, limit: object, step: object, *, dtype: torch.dtype | None) -> torch.Tensor:
    """Count from `start` to before `limit`."""
    tensors = [value.dtype for value in (start, limit, step) if isinstance(value, torch.Tensor)]
    return torch.arange(as_number(start), as_number(limit), as_number(step), dtype=tensors[0] if tensors else dtype)


@converter("Trilu", since=14)
def _trilu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    upper = bool(node.attributes.get("upper", 1))
    return apply(node, graph, partial(triangle, upper=upper), settings_of("Trilu"))


def triangle(x: torch.Tensor, diagonal: object = None, *, upper: bool) -> torch.Tensor:
    """Keep the upper or lower triangle of the last two axes."""
    offset = int(as_number(diagonal) or 0)
    return x.triu(offset) if upper else x.tril(offset)


@converter("OneHot", since=9)
def _one_hot(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    axis = node.attributes.get("axis", -1)
    return apply(node, graph, partial(one_hot, axis=axis), settings_of("OneHot"))


def one_hot(indices: torch.Tensor, depth: object, values: torch.Tensor, *, axis: int) -> torch.Tensor:
    """Write `values[1]` where an index points along a new axis of `depth`, `values[0]` elsewhere and beyond."""
    size = as_ints(depth)[0]
    axis = axis % (indices.ndim + 1)
    wanted = indices.to(torch.int64).unsqueeze(axis)
    wanted = torch.where(wanted < 0, wanted + size, wanted)
    positions = torch.arange(size, device=indices.device).reshape([-1] + [1] * (indices.ndim - axis))
    return torch.where(wanted == positions, values[1], values[0])
