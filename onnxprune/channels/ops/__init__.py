"""Transfer functions and resize rules, one file per family of operators.

Adding an operator is adding a `@flow` function (and a `@resize` one if the operator encodes sizes) to the file of
its family; importing this package registers them all.
"""

from onnxprune.channels.ops import (
    attention,
    convolution,
    counting,
    einsum,
    elementwise,
    layout,
    matmul,
    normalization,
    recurrent,
    reduction,
    reshaping,
    scatter,
    selection,
    spatial,
)

__all__ = [
    "attention",
    "convolution",
    "counting",
    "einsum",
    "elementwise",
    "layout",
    "matmul",
    "normalization",
    "recurrent",
    "reduction",
    "reshaping",
    "scatter",
    "selection",
    "spatial",
]
