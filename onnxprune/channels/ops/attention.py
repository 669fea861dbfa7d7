"""Attention as one operator (queries and keys are summed over, values go through), and rotary embeddings before it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Axes, Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import named
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.channels.regroup import regroup
from onnxprune.channels.stand_ins import Dims
from onnxprune.graph.sizes import dims

_QUERIES, _KEYS, _VALUES, _MASK = range(4)


@flow("Attention")
def attention(node: ir.Node, labels: Labels) -> None:
    """Tie the heads of queries, keys and values, and the entries of queries and keys; caches are fixed."""
    cached = [*node.inputs[_MASK + 1 :], *node.outputs[1:]]
    sizes = [_split_sizes(node, index, dims(value) if value is not None else ()) for index, value in _attended(node)]
    if any(value is not None and value.name for value in cached) or any(s is None or len(s) != 4 for s in sizes):
        labels.pin_all(node.inputs, f"{named(node)} keeps keys and values, or has heads that are not known beforehand")
        for output in node.outputs:
            labels.set(output, (None,) * len(dims(output)))
        return
    queries, keys, values = (_split(node, labels, index, size or []) for index, size in enumerate(sizes))
    entries = labels.tie(queries[3], keys[3], f"{named(node)} multiplies them with fixed entries")
    labels.contract(node, _QUERIES, len(dims(node.inputs[0])) - 1)  # type: ignore[arg-type]
    positions = _positions(node, labels, (queries[2], keys[2], values[2]))
    heads = _tied_heads(node, labels, [queries[1], keys[1], values[1]], sizes)
    labels.attention[str(node.name)] = [axis for axis in (heads, entries, values[3]) if axis is not None]
    out: Axes = (queries[0], heads, positions, values[3])
    joined = [*(sizes[_QUERIES] or [None] * 3)[:3], (sizes[_VALUES] or [None] * 4)[3]]
    labels.set(node.outputs[0], _as_output(node, labels, out, joined))


@flow("RotaryEmbedding")
def rotary_embedding(node: ir.Node, labels: Labels) -> None:
    """Let whole heads through: entries are rotated in pairs, and each position by an angle of its own."""
    sizes = _with_heads(dims(node.inputs[0]), node.attributes.get_int("num_heads", 0))  # type: ignore[arg-type]
    what = f"{named(node)} rotates pairs of them by angles of each position"
    labels.pin_all(node.inputs[1:], what)
    if sizes is None or len(sizes) != 4:
        labels.pin_all(node.inputs[:1], f"{named(node)} has heads that are not known beforehand")
        labels.set(node.outputs[0], (None,) * len(dims(node.outputs[0])))
        return
    batch, heads, positions, entries = _split(node, labels, 0, sizes)
    for axis in (batch, positions, entries):
        labels.pin(axis, what)
    labels.attention[str(node.name)] = [axis for axis in (heads, entries) if axis is not None]
    labels.set(node.outputs[0], _as_output(node, labels, (None, heads, None, None), sizes))


def _as_output(node: ir.Node, labels: Labels, axes: Axes, sizes: list[int | str | None]) -> Axes:
    """Join the heads with their entries again where the node's output has them on one axis."""
    if len(dims(node.outputs[0])) != 3:
        return axes
    batch, heads, length, width = sizes
    moved = (axes[0], axes[2], axes[1], axes[3])
    return regroup(labels, moved, [batch, length, heads, width], [batch, length, _product(heads, width)], named(node))


def _attended(node: ir.Node) -> Iterator[tuple[int, ir.Value | None]]:
    return enumerate(node.inputs[: _VALUES + 1])


def _split_sizes(node: ir.Node, index: int, sizes: Dims) -> list[int | str | None] | None:
    """Sizes of queries, keys or values as (batch, heads, length, width); None where they are not known."""
    return _with_heads(sizes, node.attributes.get_int("q_num_heads" if index == _QUERIES else "kv_num_heads", 0))


def _with_heads(sizes: Dims, heads: int) -> list[int | str | None] | None:
    if len(sizes) != 3:
        return list(sizes) or None
    width = sizes[2]
    if not heads or not isinstance(width, int):
        return None
    return [sizes[0], heads, sizes[1], width // heads]


def _split(node: ir.Node, labels: Labels, index: int, sizes: list[int | str | None]) -> Axes:
    value = node.inputs[index]
    assert value is not None
    axes = labels.of(value)
    if len(axes) == 4:
        return axes
    batch, heads, length, width = sizes
    free_size = heads if node.name in labels.whole_heads and isinstance(heads, int) else None
    after = [batch, length, heads, width]
    split = regroup(labels, axes, dims(value), after, named(node), free_size=free_size)
    return split[0], split[2], split[1], split[3]


def _tied_heads(node: ir.Node, labels: Labels, heads: list[Axis], sizes: list[list[int | str | None] | None]) -> Axis:
    reason = f"{named(node)} joins them with fixed heads"
    queries, declared = heads[_QUERIES], sizes[_QUERIES]
    of_queries = len(queries) if queries is not None else declared[1] if declared is not None else None
    # A single head of keys and values stays whatever goes of the queries.
    heads = [queries if size is not None and size[1] == 1 else axis for axis, size in zip(heads, sizes, strict=True)]
    if isinstance(of_queries, int):
        # Several heads of queries in a row may share one of keys and values.
        heads = [axis if axis is None else np.repeat(axis, max(of_queries // len(axis), 1)) for axis in heads]
    tied = labels.tie(labels.tie(heads[0], heads[1], reason), heads[2], reason)
    mask = node.inputs[_MASK] if len(node.inputs) > _MASK else None
    if mask is not None and len(dims(mask)) >= 3 and dims(mask)[-3] != 1:
        tied = labels.tie(tied, labels.of(mask)[-3], reason)
    return tied


def _positions(node: ir.Node, labels: Labels, axes: tuple[Axis, Axis, Axis]) -> Axis:
    """Fix the positions of keys and values, and those of queries where a mask counts them; they pass else."""
    queries, *weighed = axes
    for axis in weighed:
        labels.pin(axis, f"{named(node)} weighs them by a Softmax")
    masked = len(node.inputs) > _MASK and node.inputs[_MASK] is not None
    causal = node.attributes.get_int("is_causal", 0) > 0
    if masked or causal:
        labels.pin(queries, f"{named(node)} has a mask for their positions", hints.POSITIONS)
        return None
    return queries


def _product(a: int | str | None, b: int | str | None) -> int | None:
    return a * b if isinstance(a, int) and isinstance(b, int) else None


@resize("Attention")
def attention_sizes(node: ir.Node, removal: Removal) -> None:
    """State the scale, which follows from the width otherwise, and the heads that are left."""
    sizes = [_split_sizes(node, index, removal.sizes(value)) for index, value in _attended(node)]
    queries = sizes[_QUERIES]
    if queries is None or len(queries) != 4:
        return
    width = queries[3]
    if isinstance(width, int) and "scale" not in node.attributes:
        node.attributes["scale"] = ir.AttrFloat32("scale", 1 / math.sqrt(width))
    for name, index in (("q_num_heads", _QUERIES), ("kv_num_heads", _KEYS)):
        size, kept = sizes[index], removal.kept(node.inputs[index], 2)
        if name in node.attributes and size is not None and isinstance(size[1], int) and kept is not None:
            left = int(kept.reshape(size[1], -1).any(axis=1).sum())
            node.attributes[name] = ir.AttrInt64(name, left)


@resize("RotaryEmbedding")
def rotary_sizes(node: ir.Node, removal: Removal) -> None:
    """State the heads that are left."""
    heads, kept = node.attributes.get_int("num_heads", 0), removal.kept(node.inputs[0], 2)
    if heads and kept is not None and len(removal.sizes(node.inputs[0])) == 3:
        left = int(kept.reshape(heads, -1).any(axis=1).sum())
        node.attributes["num_heads"] = ir.AttrInt64("num_heads", left)
