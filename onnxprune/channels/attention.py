"""Where attention splits channels into heads.

Attention multiplies queries with keys, takes a Softmax, and multiplies with values. The Reshape in front that makes
axes for heads and their width of one axis of channels is where it is decided what goes: the same entries of every
head, or whole heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import onnx_ir as ir

from onnxprune.channels.labels import dims

AttentionUnit = Literal["head-dim", "heads", "either"]
"""What goes of attention: entries of every head, whole heads, or heads where entries cannot go."""

# What lies between the products and the Softmax, and between the split into heads and the products.
_BETWEEN = frozenset(
    {"Add", "Cast", "Clip", "Concat", "Div", "Gather", "Identity", "LpNormalization", "Mul", "Neg", "Pow", "Slice"}
    | {"Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where", "LayerNormalization"}
)
_MOST_STEPS = 24


def head_splits(model: ir.Model) -> dict[str, int]:
    """Find the nodes that split channels into heads: a Reshape, or an Attention that does it itself.

    Args:
        model: A normalised model.

    Returns:
        The number of heads by the node's name.
    """
    splits: dict[str, int] = {}
    for node in model.graph:
        heads = _heads(node)
        if heads is None:
            continue
        if node.op_type == "Attention":
            splits[str(node.name)] = heads
        for product in [node, *_products_behind(node)]:
            for value in product.inputs:
                splits.update(dict.fromkeys(_splits_before(value, heads), heads))
    return splits


def _heads(node: ir.Node) -> int | None:
    """Return the heads of an attention, or of the product of queries and keys; None if the node is neither."""
    value = node.inputs[0] if node.op_type == "Attention" else node.outputs[0]
    sizes = dims(value) if value is not None else ()
    heads = sizes[-3] if len(sizes) >= 4 else node.attributes.get_int("q_num_heads", 0)
    if not isinstance(heads, int) or heads < 2 or not (node.op_type == "Attention" or _multiplies_activations(node)):
        return None
    return heads if node.op_type == "Attention" or any(_products_behind(node)) else None


def _multiplies_activations(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and not any(value is None or value.is_initializer() for value in node.inputs)


def _products_behind(scores: ir.Node) -> Iterator[ir.Node]:
    """Yield the products with the values, which read the scores' Softmax."""
    found, queue = set(), [(scores.outputs[0], False, 0)]
    while queue:
        value, normalised, steps = queue.pop()
        for use in value.uses():
            node = use.node
            if node.op_type == "MatMul" and normalised and node not in found:
                found.add(node)
                yield node
            elif node.op_type in _BETWEEN | {"Reshape"} and steps < _MOST_STEPS:
                queue += [(o, normalised or node.op_type == "Softmax", steps + 1) for o in node.outputs]


def _splits_before(value: ir.Value | None, heads: int) -> Iterator[str]:
    seen: set[ir.Node] = set()
    queue = [value]
    while queue:
        value = queue.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen or len(seen) > _MOST_STEPS:
            continue
        seen.add(node)
        if node.op_type == "Reshape" and _makes(node, heads):
            yield str(node.name)
        elif node.op_type in _BETWEEN or node.op_type in {"Reshape", "Expand"}:
            queue += list(node.inputs)


def _makes(node: ir.Node, heads: int) -> bool:
    """Say whether a Reshape has an axis of heads that was not there before."""
    return dims(node.outputs[0]).count(heads) > (dims(node.inputs[0]).count(heads) if node.inputs[0] is not None else 0)
