"""Poolings: maximum, average and p-norm over windows, and over all of space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.converters.windows import Window, is_symmetric, pad_spatial
from onnxprune.torch_bridge.registry import apply, converter

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@converter("MaxPool")
def _max_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if len(node.output_values) > 1:
        raise NotImplementedError("MaxPool whose indices are used is not supported")
    return apply(node, graph, partial(max_pool, **_options(node)))


@converter("AveragePool")
def _average_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    count_padding = bool(node.attributes.get("count_include_pad", 0))
    return apply(node, graph, partial(average_pool, count_padding=count_padding, **_options(node)))


@converter("LpPool")
def _lp_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(lp_pool, p=node.attributes.get("p", 2), **_options(node)))


@converter("GlobalAveragePool")
def _global_average_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, global_average)


@converter("GlobalMaxPool")
def _global_max_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, global_maximum)


@converter("GlobalLpPool")
def _global_lp_pool(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(global_norm, p=node.attributes.get("p", 2)))


def _options(node: OnnxNode) -> dict[str, Any]:
    return {
        "kernel": tuple(node.attributes["kernel_shape"]),
        "window": Window.of(node),
        "ceil": bool(node.attributes.get("ceil_mode", 0)),
    }


def max_pool(x: torch.Tensor, *, kernel: tuple[int, ...], window: Window, ceil: bool) -> torch.Tensor:
    """Take the maximum in each window; padding never wins."""
    rank = len(kernel)
    padding = window.padding(x.shape[2:], kernel)
    amounts = [begin for begin, _ in padding]
    if not is_symmetric(padding) or any(2 * amount > k for amount, k in zip(amounts, kernel, strict=True)):
        padding = _with_ceil(x.shape[2:], kernel, window, padding) if ceil else padding
        lowest = float("-inf") if x.is_floating_point() else float(torch.iinfo(x.dtype).min)
        x, amounts, ceil = pad_spatial(x, padding, lowest), [0] * rank, False
    return _MAX[rank](x, kernel, window.steps(rank), amounts, window.spacing(rank), ceil_mode=ceil)


def average_pool(
    x: torch.Tensor, *, kernel: tuple[int, ...], window: Window, ceil: bool, count_padding: bool
) -> torch.Tensor:
    """Average each window, over the elements that are no padding unless `count_padding`."""
    rank = len(kernel)
    padding = window.padding(x.shape[2:], kernel)
    plain = is_symmetric(padding) and all(2 * b <= k for (b, _), k in zip(padding, kernel, strict=True))
    if plain and not ceil and set(window.spacing(rank)) == {1}:
        amounts = [begin for begin, _ in padding]
        functions = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
        pooled: torch.Tensor = functions[rank](x, kernel, window.steps(rank), amounts, count_include_pad=count_padding)
        return pooled
    counted = torch.ones_like(x[:1, :1])
    if count_padding:
        counted = pad_spatial(counted, padding, 1.0)
    if ceil:
        wider = _with_ceil(x.shape[2:], kernel, window, padding)
        x = pad_spatial(x, wider)
        tail = [(0, w[1] - p[1]) for w, p in zip(wider, padding, strict=True)]
        counted = pad_spatial(counted, tail if count_padding else wider)
    else:
        x = pad_spatial(x, padding)
        counted = counted if count_padding else pad_spatial(counted, padding)
    return window_sum(x, kernel, window) / window_sum(counted, kernel, window)


def lp_pool(x: torch.Tensor, *, p: int, kernel: tuple[int, ...], window: Window, ceil: bool) -> torch.Tensor:
    """Take the p-norm of each window."""
    padding = window.padding(x.shape[2:], kernel)
    if ceil:
        padding = _with_ceil(x.shape[2:], kernel, window, padding)
    return window_sum(pad_spatial(x.abs() ** p, padding), kernel, window) ** (1 / p)


def window_sum(x: torch.Tensor, kernel: tuple[int, ...], window: Window) -> torch.Tensor:
    """Sum each window of `x`, shape (N, C, *sizes), without padding."""
    rank = len(kernel)
    planes = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones(1, 1, *kernel, dtype=x.dtype, device=x.device)
    sums = _CONV[rank](planes, ones, None, window.steps(rank), 0, window.spacing(rank))
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def _with_ceil(
    sizes: Sequence[int], kernel: Sequence[int], window: Window, padding: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Widen the padding so that a last, partial window fits, as long as it starts inside the input."""
    rank = len(kernel)
    widened = []
    for size, k, step, space, (begin, end) in zip(
        sizes, kernel, window.steps(rank), window.spacing(rank), padding, strict=True
    ):
        reach = (k - 1) * space + 1
        windows = -(-(size + begin + end - reach) // step) + 1
        if (windows - 1) * step >= size + begin:
            windows -= 1
        widened.append((begin, max(end, (windows - 1) * step + reach - size - begin)))
    return widened


def global_average(x: torch.Tensor) -> torch.Tensor:
    """Average over space: (N, C, *sizes) -> (N, C, 1, ...)."""
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True) if prod(x.shape[2:]) != 1 else x


def global_maximum(x: torch.Tensor) -> torch.Tensor:
    """Take the maximum over space: (N, C, *sizes) -> (N, C, 1, ...)."""
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


def global_norm(x: torch.Tensor, *, p: int) -> torch.Tensor:
    """Take the p-norm over space: (N, C, *sizes) -> (N, C, 1, ...)."""
    norm: torch.Tensor = torch.linalg.vector_norm(x, p, dim=tuple(range(2, x.ndim)), keepdim=True)
    return norm
