"""Conv and ConvTranspose, in one to three dimensions, with every kind of padding, and DeformConv in two."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.converters.windows import Window, is_symmetric, pad_spatial, split_evenly
from onnxprune.torch_bridge.registry import apply, converter, ints

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@converter("Conv")
def _conv(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    groups = node.attributes.get("group", 1)
    return apply(node, graph, partial(convolve, window=Window.of(node), groups=groups))


@converter("ConvTranspose")
def _conv_transpose(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        convolve_transposed,
        window=Window.of(node),
        groups=node.attributes.get("group", 1),
        output_padding=ints(node, "output_padding"),
        output_shape=ints(node, "output_shape"),
    )
    return apply(node, graph, function)


@converter("DeformConv", since=19)
def _deform_conv(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(convolve_deformed, window=Window.of(node)))


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *, window: Window, groups: int
) -> torch.Tensor:
    """Convolve `x`, shape (N, C, *sizes), with `weight`, shape (M, C / groups, *kernel)."""
    rank = weight.ndim - 2
    padding = window.padding(x.shape[2:], weight.shape[2:])
    amounts = [begin for begin, _ in padding]
    if not is_symmetric(padding):
        x, amounts = pad_spatial(x, padding), [0] * rank
    return _CONV[rank](x, weight, bias, window.steps(rank), amounts, window.spacing(rank), groups)


def convolve_deformed(
    x: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    *,
    window: Window,
) -> torch.Tensor:
    """Convolve `x`, shape (N, C, H, W), each entry of the kernel moved by its offset and weighed by its mask."""
    # Few networks have it, and torchvision takes a second to load.
    from torchvision.ops import deform_conv2d

    padding = window.padding(x.shape[2:], weight.shape[2:])
    (down, _), (across, _) = padding
    if not is_symmetric(padding):
        x, down, across = pad_spatial(x, padding), 0, 0
    (step_down, step_across), (space_down, space_across) = window.steps(2), window.spacing(2)
    return deform_conv2d(
        x,
        offset,
        weight,
        bias,
        stride=(step_down, step_across),
        padding=(down, across),
        dilation=(space_down, space_across),
        mask=mask,
    )


def convolve_transposed(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    window: Window,
    groups: int,
    output_padding: tuple[int, ...] | None,
    output_shape: tuple[int, ...] | None,
) -> torch.Tensor:
    """Transpose-convolve `x`, shape (N, C, *sizes), with `weight`, shape (C, M / groups, *kernel)."""
    rank = weight.ndim - 2
    steps, spacing = window.steps(rank), window.spacing(rank)
    extra = output_padding or (0,) * rank
    function = partial(_CONV_TRANSPOSE[rank], stride=steps, output_padding=extra, groups=groups, dilation=spacing)
    sizes = list(x.shape[2:])
    full = [
        step * (size - 1) + more + (k - 1) * space + 1
        for step, size, more, k, space in zip(steps, sizes, extra, weight.shape[2:], spacing, strict=True)
    ]
    if output_shape is not None:
        wanted = list(output_shape[-rank:])
    elif window.auto_pad.startswith("SAME"):
        wanted = [size * step for size, step in zip(sizes, steps, strict=True)]
    else:
        wanted = None
    if wanted is None:
        padding = window.padding(sizes, weight.shape[2:])
    else:
        totals = [have - want for have, want in zip(full, wanted, strict=True)]
        padding = split_evenly(totals, window.auto_pad == "SAME_UPPER")
    if is_symmetric(padding) and all(begin >= 0 for begin, _ in padding):
        return function(x, weight, bias, padding=[begin for begin, _ in padding])
    return pad_spatial(function(x, weight, bias, padding=0), [(-begin, -end) for begin, end in padding])
