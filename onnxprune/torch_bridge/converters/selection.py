"""Parts of tensors: Slice, Gather, Split and Pad in all opsets; blocks moved between channels and space."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter, ints
from onnxprune.torch_bridge.settings import as_ints, as_number, settings_of


@converter("Slice", until=9)
def _slice_attributes(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    starts, ends, axes = ints(node, "starts"), ints(node, "ends"), ints(node, "axes")
    return apply(node, graph, partial(slice_axes, starts=starts, ends=ends, axes=axes))


@converter("Slice", since=10)
def _slice(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, slice_axes, settings_of("Slice"))


def slice_axes(
    x: torch.Tensor, starts: object, ends: object, axes: object = None, steps: object = None
) -> torch.Tensor:
    """Slice axes as numpy does, negative steps included."""
    begins, stops = as_ints(starts), as_ints(ends)
    chosen = list(range(len(begins))) if axes is None else as_ints(axes)
    strides = [1] * len(begins) if steps is None else as_ints(steps)
    index: list[slice] = [slice(None)] * x.ndim
    for axis, begin, stop, step in zip(chosen, begins, stops, strides, strict=True):
        size = x.shape[axis]
        if step > 0:
            index[axis] = slice(begin, stop, step)
            continue
        picked = range(size)[slice(begin, stop if stop >= -size else None, step)]
        x = x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64, device=x.device))
    return x[tuple(index)]


@converter("Gather")
def _gather(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    index = graph.initializers.get(node.input_values[1])
    is_number = index is not None and not index.proto.dims
    axis = node.attributes.get("axis", 0)
    return apply(node, graph, partial(gather, axis=axis), (1,) if is_number else ())


def gather(x: torch.Tensor, indices: torch.Tensor | int, *, axis: int) -> torch.Tensor:
    """Pick entries along an axis; the axis takes the shape of `indices`."""
    if isinstance(indices, int):
        return x.select(axis, indices)
    axis = axis % x.ndim
    flat = torch.remainder(indices.to(torch.int64).reshape(-1), x.shape[axis])
    picked = x.index_select(axis, flat)
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@converter("GatherElements", since=11)
def _gather_elements(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(gather_elements, axis=node.attributes.get("axis", 0)))


def gather_elements(x: torch.Tensor, indices: torch.Tensor, *, axis: int) -> torch.Tensor:
    """Pick, for each entry of `indices`, the entry of `x` at that index along an axis."""
    return torch.gather(x, axis, torch.remainder(indices.to(torch.int64), x.shape[axis]))


@converter("GatherND", since=11)
def _gather_nd(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(gather_nd, batch_dims=node.attributes.get("batch_dims", 0)))


def gather_nd(x: torch.Tensor, indices: torch.Tensor, *, batch_dims: int) -> torch.Tensor:
    """Pick by the index tuples on the last axis of `indices`, in each entry of the first `batch_dims` axes."""
    depth = indices.shape[-1]
    entries = x.reshape(math.prod(x.shape[:batch_dims]), *x.shape[batch_dims:])
    tuples = indices.to(torch.int64).reshape(len(entries), -1, depth)
    batch = torch.arange(len(entries), device=x.device).unsqueeze(1)
    picked = entries[(batch, *tuples.unbind(-1))]
    return picked.reshape(*indices.shape[:-1], *x.shape[batch_dims + depth :])


@converter("NonZero", since=9)
def _non_zero(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, non_zero)


def non_zero(x: torch.Tensor) -> torch.Tensor:
    """Return the indices of what is not zero, shape (rank, count); a single number counts as one of rank 1."""
    return torch.nonzero(x if x.ndim else x.reshape(1)).T


@converter("Split")
def _split(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        split,
        axis=node.attributes.get("axis", 0),
        attribute=ints(node, "split"),
        parts=len(node.output_values),
    )
    return apply(node, graph, function, settings_of("Split"))


def split(
    x: torch.Tensor, sizes: object = None, *, axis: int, attribute: tuple[int, ...] | None, parts: int
) -> tuple[torch.Tensor, ...] | torch.Tensor:
    """Split an axis into parts of given sizes, else into equal ones, the last smaller where it must be."""
    if sizes is None and attribute is None:
        each = -(-x.shape[axis] // parts)
        wanted = [max(min(each, x.shape[axis] - index * each), 0) for index in range(parts)]
    else:
        wanted = as_ints(attribute if sizes is None else sizes)
    pieces = torch.split(x, wanted, dim=axis)
    return pieces if parts > 1 else pieces[0]


@converter("Pad", until=10)
def _pad_attributes(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        pad,
        amounts=ints(node, "pads"),
        value=node.attributes.get("value", 0.0),
        mode=node.attributes.get("mode", "constant"),
    )
    return apply(node, graph, function)


@converter("Pad", since=11)
def _pad(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    mode = node.attributes.get("mode", "constant")
    return apply(node, graph, partial(pad, mode=mode), settings_of("Pad"))


def pad(x: torch.Tensor, amounts: object, value: object = None, axes: object = None, *, mode: str) -> torch.Tensor:
    """Pad or, by negative amounts, crop axes: all begins first, then all ends."""
    numbers = as_ints(amounts)
    chosen = range(x.ndim) if axes is None else [axis % x.ndim for axis in as_ints(axes)]
    pairs = {axis: (numbers[i], numbers[i + len(chosen)]) for i, axis in enumerate(chosen)}
    if mode == "constant":
        flat = [amount for axis in reversed(range(x.ndim)) for amount in pairs.get(axis, (0, 0))]
        return F.pad(x, flat, value=float(as_number(value) or 0.0))
    for axis, (begin, end) in pairs.items():
        if begin or end:
            x = x.index_select(axis, _padded_indices(x.shape[axis], begin, end, mode).to(x.device))
    return x


def _padded_indices(size: int, begin: int, end: int, mode: str) -> torch.Tensor:
    positions = torch.arange(-begin, size + end)
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "wrap":
        return positions % size
    period = max(2 * (size - 1), 1)
    folded = positions % period
    return torch.minimum(folded, period - folded) if size > 1 else torch.zeros_like(positions)


@converter("DepthToSpace")
def _depth_to_space(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    block, mode = node.attributes["blocksize"], node.attributes.get("mode", "DCR")
    return apply(node, graph, partial(depth_to_space, block=block, mode=mode))


def depth_to_space(x: torch.Tensor, *, block: int, mode: str) -> torch.Tensor:
    """Move blocks of channels into space: (N, C * b * b, H, W) -> (N, C, H * b, W * b)."""
    if mode == "CRD":
        return F.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    blocks = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // block**2, h * block, w * block)


@converter("SpaceToDepth")
def _space_to_depth(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(space_to_depth, block=node.attributes["blocksize"]))


def space_to_depth(x: torch.Tensor, *, block: int) -> torch.Tensor:
    """Move blocks of space into channels: (N, C, H, W) -> (N, b * b * C, H / b, W / b)."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * block**2, h // block, w // block)


@converter("ScatterElements", since=11)
def _scatter_elements(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    axis, reduction = node.attributes.get("axis", 0), node.attributes.get("reduction", "none")
    return apply(node, graph, partial(scatter_elements, axis=axis, reduction=reduction))


def scatter_elements(
    x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, *, axis: int, reduction: str
) -> torch.Tensor:
    """Write `updates` into a copy of `x` at indices along an axis."""
    where = torch.remainder(indices.to(torch.int64), x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, where, updates)
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return x.scatter_reduce(axis, where, updates, names[reduction])
