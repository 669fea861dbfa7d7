"""Col2Im: columns of blocks are summed to pictures where the blocks lie."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.converters.windows import Window
from onnxprune.torch_bridge.registry import apply, converter
from onnxprune.torch_bridge.settings import as_ints, settings_of


@converter("Col2Im")
def _col2im(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(col2im, window=Window.of(node)), settings_of("Col2Im"))


def col2im(x: torch.Tensor, image: object, block: object, *, window: Window) -> torch.Tensor:
    """Sum the columns of `x`, shape (N, C * height * width of a block, blocks), to pictures, shape (N, C, *image)."""
    sizes, kernel = as_ints(image), as_ints(block)
    if len(sizes) != 2:
        raise NotImplementedError("Col2Im of other than two axes is not supported")
    padding = window.padding(sizes, kernel)
    padded = [size + before + after for size, (before, after) in zip(sizes, padding, strict=True)]
    folded = F.fold(x, tuple(padded), tuple(kernel), window.spacing(2), 0, window.steps(2))
    (top, _), (left, _) = padding
    return folded[:, :, top : top + sizes[0], left : left + sizes[1]]
