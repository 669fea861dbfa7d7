"""The converters that onnxprune adds to onnx2torch, one file an operator family; importing registers them."""

from onnxprune.torch_bridge.converters import (
    activation,
    attention,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    reshaping,
    rotation,
    selection,
    sources,
    widened,
)

__all__ = [
    "activation",
    "attention",
    "convolution",
    "elementwise",
    "linear",
    "normalization",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resampling",
    "reshaping",
    "rotation",
    "selection",
    "sources",
    "widened",
]
