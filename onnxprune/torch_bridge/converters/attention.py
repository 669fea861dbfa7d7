"""Attention as one operator (opset 23 and later), as PyTorch's scaled_dot_product_attention."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter

_INPUTS = ("Q", "K", "V", "attn_mask")


@converter("Attention", since=23)
def _attention(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    unsupported = list(_unsupported(node))
    if unsupported:
        raise NotImplementedError(f"Attention with {' and '.join(unsupported)} is not supported")
    attributes = node.attributes
    function = partial(
        attention,
        heads=(attributes.get("q_num_heads", 0), attributes.get("kv_num_heads", 0)),
        # ONNX has no other way to say that there is none.
        scale=attributes.get("scale") or None,
        causal=bool(attributes.get("is_causal", 0)),
    )
    return apply(node, graph, function)


def _unsupported(node: OnnxNode) -> list[str]:
    """Name what a node has that PyTorch's function does not."""
    found = []
    if any(node.input_values[len(_INPUTS) : 6]) or any(node.output_values[1:3]):
        found.append("past or present keys and values")
    if any(node.input_values[6:]):
        found.append("keys that count only in part (nonpad_kv_seqlen)")
    if any(node.output_values[3:]):
        found.append("its scores as an output")
    if node.attributes.get("softcap", 0.0):
        found.append("a softcap")
    if any(node.attributes.get(f"{side}_window_size", -1) != -1 for side in ("left", "right")):
        found.append("a window")
    return found


def attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    *_: None,
    heads: tuple[int, int],
    scale: float | None,
    causal: bool,
) -> torch.Tensor:
    """Attend, with heads on an axis of their own, (N, heads, L, d), or beside their entries, (N, L, heads d)."""
    joined = queries.ndim == 3
    q, k, v = (
        _with_heads(x, count) for x, count in zip((queries, keys, values), (heads[0], *heads[1:] * 2), strict=True)
    )
    if causal and mask is not None:
        allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        mask, causal = (mask & allowed if mask.dtype == torch.bool else mask.masked_fill(~allowed, -torch.inf)), False
    shares = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=shares)
    return out.transpose(1, 2).flatten(2) if joined else out


def _with_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) if x.ndim == 3 else x
