"""Matrix products: Gemm. MatMul and Einsum are onnx2torch's, which read their weights as any other value."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter


@converter("Gemm")
def _gemm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        gemm,
        alpha=node.attributes.get("alpha", 1.0),
        beta=node.attributes.get("beta", 1.0),
        transpose_a=bool(node.attributes.get("transA", 0)),
        transpose_b=bool(node.attributes.get("transB", 0)),
    )
    return apply(node, graph, function)


def gemm(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor | None = None,
    *,
    alpha: float,
    beta: float,
    transpose_a: bool,
    transpose_b: bool,
) -> torch.Tensor:
    """Compute alpha * A @ B + beta * C, A and B transposed first where asked."""
    a = a.T if transpose_a else a
    if alpha == 1.0 and (c is None or (beta == 1.0 and c.ndim == 1)):
        return F.linear(a, b if transpose_b else b.T, c)
    product = a @ (b.T if transpose_b else b)
    product = product if alpha == 1.0 else product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta)
