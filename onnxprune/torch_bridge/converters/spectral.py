"""The discrete Fourier transform; complex numbers are pairs on the last axis."""

from __future__ import annotations

from functools import partial

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter
from onnxprune.torch_bridge.settings import as_number, settings_of


@converter("DFT", since=17, until=19)
def _dft_17(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _transform(node, graph, node.attributes.get("axis", 1))


@converter("DFT", since=20)
def _dft(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _transform(node, graph, -2)


def _transform(node: OnnxNode, graph: OnnxGraph, default_axis: int) -> OperationConverterResult:
    inverse, onesided = (bool(node.attributes.get(name, 0)) for name in ("inverse", "onesided"))
    if inverse and onesided:
        raise NotImplementedError("DFT that is inverse and one-sided is not supported")
    function = partial(dft, default_axis=default_axis, inverse=inverse, onesided=onesided)
    return apply(node, graph, function, settings_of("DFT"))


def dft(
    x: torch.Tensor, length: object = None, axis: object = None, *, default_axis: int, inverse: bool, onesided: bool
) -> torch.Tensor:
    """Transform `x`, shape (..., 1) where real and (..., 2) where complex, along an axis; the result is complex."""
    # PyTorch transforms no half precision, which mixed precision brings here.
    wide = x if x.dtype == torch.float64 else x.float()
    along = int(default_axis if axis is None else as_number(axis)) % x.ndim
    size = as_number(length)
    if onesided:
        return torch.view_as_real(torch.fft.rfft(wide[..., 0], size, along)).to(x.dtype)
    signal = torch.view_as_complex(wide.contiguous()) if x.shape[-1] == 2 else wide[..., 0]
    transform = torch.fft.ifft if inverse else torch.fft.fft
    return torch.view_as_real(transform(signal, size, along)).to(x.dtype)
