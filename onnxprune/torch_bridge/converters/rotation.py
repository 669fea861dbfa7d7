"""RotaryEmbedding (opset 23): pairs of entries rotated by the angles of each position."""

from __future__ import annotations

from functools import partial

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter


@converter("RotaryEmbedding", since=23)
def _rotary_embedding(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        rotate,
        heads=node.attributes.get("num_heads", 0),
        width=node.attributes.get("rotary_embedding_dim", 0),
        interleaved=bool(node.attributes.get("interleaved", 0)),
    )
    return apply(node, graph, function)


def rotate(
    x: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    positions: torch.Tensor | None = None,
    *,
    heads: int,
    width: int,
    interleaved: bool,
) -> torch.Tensor:
    """Rotate pairs of entries.

    Args:
        x: Entries, shape (N, heads, L, d) or (N, L, heads d).
        cosines: Of the angles, shape (N, L, width / 2), or (positions, width / 2) where `positions` are given.
        sines: Likewise.
        positions: Which row of the angles each position has, shape (N, L).
        heads: How many heads share an axis with the entries.
        width: How many entries of each head are rotated, the others stay; 0: all.
        interleaved: Whether neighbours are pairs, else an entry and the one half the width behind.

    Returns:
        The rotated entries, of the shape of `x`.
    """
    by_head = x.reshape(*x.shape[:2], heads, -1) if x.ndim == 3 else x.transpose(1, 2)
    cos, sin = (angles if positions is None else angles[positions] for angles in (cosines, sines))
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    width = width or by_head.shape[-1]
    turning, rest = by_head[..., :width], by_head[..., width:]
    a, b = (turning[..., 0::2], turning[..., 1::2]) if interleaved else turning.chunk(2, dim=-1)
    turned = torch.stack([cos * a - sin * b, sin * a + cos * b], dim=-1 if interleaved else -2).flatten(-2)
    out = torch.cat([turned, rest], dim=-1)
    return out.flatten(2) if x.ndim == 3 else out.transpose(1, 2)
