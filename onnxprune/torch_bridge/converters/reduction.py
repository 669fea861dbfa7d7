"""Reductions over axes, which are an attribute until opset 17 (ReduceSum: 12) and an input from there on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter, ints
from onnxprune.torch_bridge.settings import as_ints

Reduction = Callable[[torch.Tensor, list[int], bool], torch.Tensor]


def _prod(x: torch.Tensor, axes: list[int], keepdim: bool) -> torch.Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(dim=axis, keepdim=keepdim)
    return x


def _norm(x: torch.Tensor, axes: list[int], keepdim: bool) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(x, 2, dim=axes, keepdim=keepdim)
    return norm


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keepdim: x.abs().sum(axes, keepdim=keepdim, dtype=x.dtype),
    "ReduceL2": _norm,
    "ReduceLogSum": lambda x, axes, keepdim: x.sum(axes, keepdim=keepdim).log(),
    "ReduceLogSumExp": lambda x, axes, keepdim: x.logsumexp(axes, keepdim=keepdim),
    "ReduceMax": lambda x, axes, keepdim: x.amax(axes, keepdim=keepdim),
    "ReduceMean": lambda x, axes, keepdim: x.mean(axes, keepdim=keepdim),
    "ReduceMin": lambda x, axes, keepdim: x.amin(axes, keepdim=keepdim),
    "ReduceProd": _prod,
    "ReduceSum": lambda x, axes, keepdim: x.sum(axes, keepdim=keepdim, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim, dtype=x.dtype),
}


@converter(*_REDUCTIONS)
def _reduce(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        reduce_axes,
        operator=node.operation_type,
        attribute=ints(node, "axes"),
        keepdim=bool(node.attributes.get("keepdims", 1)),
        empty_is_none=bool(node.attributes.get("noop_with_empty_axes", 0)),
    )
    return apply(node, graph, function, (1,))


def reduce_axes(
    x: torch.Tensor,
    axes: object = None,
    *,
    operator: str,
    attribute: tuple[int, ...] | None,
    keepdim: bool,
    empty_is_none: bool,
) -> torch.Tensor:
    """Reduce over the axes of the input or the attribute; without any, over all or, if so asked, none."""
    chosen = list(attribute or ()) if axes is None else as_ints(axes)
    if not chosen:
        if empty_is_none:
            # Each entry is reduced alone: ReduceSumSquare still squares it.
            return _REDUCTIONS[operator](x.unsqueeze(0), [0], False)
        chosen = list(range(x.ndim))
    return _REDUCTIONS[operator](x, chosen, keepdim) if x.ndim else x


@converter("ArgMax", "ArgMin")
def _arg_extremum(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        arg_extremum,
        function=torch.argmax if node.operation_type == "ArgMax" else torch.argmin,
        axis=node.attributes.get("axis", 0),
        keepdim=bool(node.attributes.get("keepdims", 1)),
        last=bool(node.attributes.get("select_last_index", 0)),
    )
    return apply(node, graph, function)


def arg_extremum(
    x: torch.Tensor, *, function: Callable[..., torch.Tensor], axis: int, keepdim: bool, last: bool
) -> torch.Tensor:
    """Return the index of the extremum along an axis, the first or the last of equal ones."""
    if not last:
        return function(x, dim=axis, keepdim=keepdim)
    return x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keepdim)


@converter("TopK")
def _top_k(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        top_k,
        attribute=node.attributes.get("k"),
        axis=node.attributes.get("axis", -1),
        largest=bool(node.attributes.get("largest", 1)),
        # Unsorted means any order; sorted is one, and the one that onnxruntime is closest to.
        alone=len(node.output_values) == 1,
    )
    return apply(node, graph, function, (1,))


def top_k(
    x: torch.Tensor, k: object = None, *, attribute: int | None, axis: int, largest: bool, alone: bool
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest or smallest entries along an axis and, unless `alone`, their indices."""
    count = attribute if k is None else as_ints(k)[0]
    values, indices = torch.topk(x, int(count or 0), dim=axis, largest=largest)
    return values if alone else (values, indices)
