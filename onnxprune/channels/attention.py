"""Where attention splits channels into heads.

Attention multiplies queries with keys, takes a Softmax, and multiplies with values. The Reshape in front that makes
axes for heads and their width of one axis of channels is where it is decided what goes: the same entries of every
head, or whole heads. Where the products are of three axes, samples and heads share the first:

    (..., E) -> (..., heads, d)                       products of four axes
    (L, N, E) -> (L, N heads, d)                      of three: PyTorch's MultiheadAttention
    (N, heads, L, d) -> (N heads, L, d)               of three, behind a split as for four

Several heads of queries may share one of keys and values, which is repeated for them before the products:

    (N, shared, L, d) -> (N, shared, times, L, d) -> (N, heads, L, d)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import onnx_ir as ir

from onnxprune.graph import origin_of
from onnxprune.graph.equations import axis_letters
from onnxprune.graph.sizes import dims

AttentionUnit = Literal["head-dim", "heads", "either"]
"""What goes of attention: entries of every head, whole heads, or heads where entries cannot go."""

# What lies between the products and the Softmax, and between the split into heads and the products.
_BETWEEN = frozenset(
    {"Add", "Cast", "Clip", "Concat", "Div", "Gather", "Identity", "LpNormalization", "Mul", "Neg", "Pow", "Slice"}
    | {"RotaryEmbedding", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where"}
    | {"LayerNormalization", "Tanh"}
)
_PRODUCTS = frozenset({"MatMul", "Einsum"})
_MOST_STEPS = 24
Sizes = tuple[int | str | None, ...]


def attentions(model: ir.Model) -> tuple[dict[str, int], ...]:
    """Find the nodes that split channels into heads, a Reshape or an operator that does it itself, for each attention.

    Args:
        model: A normalised model.

    Returns:
        For each attention the number of heads by the name of the node that splits, which is smaller for keys and values
        that several heads of queries share; several attentions may share a node.
    """
    found = (dict(_all_splits(node, heads)) for node in model.graph if (heads := _heads(node)))
    return tuple(splits for splits in found if splits)


def _all_splits(node: ir.Node, heads: int) -> Iterator[tuple[str, int]]:
    """Yield the names of what splits the queries, keys and values of an attention into heads, and into how many."""
    if node.op_type == "Attention":
        yield str(node.name), heads
        for index, value in enumerate(node.inputs[:3]):
            yield from _splits_before(value, _heads_of_operator(node, index) or heads)
        return
    for product in [node, *products_behind(node)]:
        for value in product.inputs:
            yield from _splits_before(value, heads)


def _heads_of_operator(node: ir.Node, index: int) -> int | None:
    """Return the heads of an operator's queries, keys or values; None if they are not known."""
    value = node.inputs[index]
    sizes = dims(value) if value is not None else ()
    attribute = "q_num_heads" if index == 0 else "kv_num_heads"
    heads = sizes[1] if len(sizes) == 4 else node.attributes.get_int(attribute, 0)
    return heads if isinstance(heads, int) and heads > 0 else None


def _heads(node: ir.Node) -> int | None:
    """Return the heads of an attention, or of the product of queries and keys; None if the node is neither."""
    heads: int | str | None
    if node.op_type == "Attention":
        heads = _heads_of_operator(node, 0)
    elif is_scores(node):
        sizes = dims(node.outputs[0])
        if node.op_type == "Einsum":
            heads = sizes[head_axis] if (head_axis := _head_axis(node)) is not None else None
        else:
            heads = sizes[-3] if len(sizes) >= 4 else next(_heads_beside_samples(node.inputs[0]), None)
    else:
        return None
    return heads if isinstance(heads, int) and heads > 1 else None


def is_scores(node: ir.Node) -> bool:
    """Say whether a node multiplies the queries of an attention with its keys."""
    return _multiplies_activations(node) and any(products_behind(node))


def _multiplies_activations(node: ir.Node) -> bool:
    of_two = node.op_type in _PRODUCTS and len(node.inputs) == 2
    return of_two and not any(value is None or origin_of(value) is not None for value in node.inputs)


def _letters(node: ir.Node) -> tuple[list[str], list[str], list[str]]:
    """Return the letters of both operands of an Einsum and of its result."""
    ranks = [len(dims(value)) if value is not None else 0 for value in node.inputs]
    first, second, result = axis_letters(node.attributes.get_string("equation"), ranks)
    return first, second, result


def _head_axis(scores: ir.Node) -> int | None:
    """Return the axis of an Einsum's result that holds the heads: the last that both operands have, behind samples."""
    queries, keys, result = _letters(scores)
    shared = [axis for axis, letter in enumerate(result) if letter in queries and letter in keys]
    return shared[-1] if shared and len(result) == len(dims(scores.outputs[0])) else None


def products_behind(scores: ir.Node) -> Iterator[ir.Node]:
    """Yield the products with the values, which read the scores' Softmax."""
    found, queue = set(), [(scores.outputs[0], False, 0)]
    while queue:
        value, normalised, steps = queue.pop()
        for use in value.uses():
            node = use.node
            if node.op_type in _PRODUCTS and normalised and node not in found:
                found.add(node)
                yield node
            elif node.op_type in _BETWEEN | {"Reshape"} and steps < _MOST_STEPS:
                queue += [(o, normalised or node.op_type == "Softmax", steps + 1) for o in node.outputs]


def _heads_beside_samples(value: ir.Value | None) -> Iterator[int]:
    """Read the heads off the Reshape that puts them and the samples on one axis."""
    for node, _ in _regroupings_before(value):
        before, after = _sizes(node)
        if node.op_type != "Reshape" or len(after) != 3:
            continue
        if len(before) == 4 and before[2:] == after[1:] and isinstance(before[1], int):
            yield before[1]
        elif (heads := _heads_of_last(before, after)) is not None:
            yield heads


def _splits_before(value: ir.Value | None, heads: int) -> Iterator[tuple[str, int]]:
    return ((str(node.name), count) for node, count in _regroupings_before(value, heads) if _splits(node, count))


def _regroupings_before(value: ir.Value | None, heads: int = 0) -> Iterator[tuple[ir.Node, int]]:
    """Yield what regroups axes before a product, nearest first, and how many heads there are where it does.

    What splits channels into heads ends the way back.
    """
    seen: set[ir.Node] = set()
    queue = [(value, heads)]
    while queue:
        value, heads = queue.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen or len(seen) > _MOST_STEPS:
            continue
        seen.add(node)
        if node.op_type in {"Reshape", "RotaryEmbedding"}:
            yield node, heads
        found = heads > 0 and _splits(node, heads)
        if node.op_type in _BETWEEN | {"Reshape", "Expand"} and not found:
            shared = _shared_heads(node, heads)
            queue += [(value, shared) for value in node.inputs]


def _shared_heads(node: ir.Node, heads: int) -> int:
    """Return how many heads there are before a node, which differs where it joins them with their repetition."""
    before, after = _sizes(node)
    if node.op_type != "Reshape" or len(before) != len(after) + 1:
        return heads
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    repeated = producer is not None and producer.op_type in {"Expand", "Tile"}
    for axis, (shared, times) in enumerate(pairwise(before)):
        # A single entry that is not repeated is a sample.
        if not isinstance(shared, int) or not isinstance(times, int) or (shared == 1 and not repeated):
            continue
        if shared * times == heads == after[axis]:
            return shared
    return heads


def _splits(node: ir.Node, heads: int) -> bool:
    """Say whether a node takes an axis of channels apart into heads and their width."""
    before, after = _sizes(node)
    if node.op_type == "RotaryEmbedding":
        return len(before) == 3 and node.attributes.get_int("num_heads", 0) == heads
    if node.op_type != "Reshape" or _shared_heads(node, heads) != heads:
        return False
    if len(before) == len(after) == 3 and _heads_of_last(before, after) == heads:
        return True
    # Where the width was there before, it is samples that are told from heads.
    from_samples = len(before) in {3, 4} and len(after) == 4 and before[-2:] == after[-2:]
    return after.count(heads) > before.count(heads) and not from_samples


def _heads_of_last(before: Sizes, after: Sizes) -> int | None:
    """Return into how many heads (L, N, E) -> (L, N heads, d) splits the last axis, None if it is no such Reshape."""
    if len(before) != 3 or before[0] != after[0]:
        return None
    channels, width = before[2], after[2]
    if not isinstance(channels, int) or not isinstance(width, int) or width == 0 or channels % width:
        return None
    return channels // width


def _sizes(node: ir.Node) -> tuple[Sizes, Sizes]:
    return dims(node.inputs[0]) if node.inputs[0] is not None else (), dims(node.outputs[0])
