"""Give the heads of attention an axis of their own where they share one with samples whose number is not known.

PyTorch's MultiheadAttention multiplies matrices of three axes: (L, N, E) -> (L, N heads, d). How many heads are left
cannot be said of an axis of unknown size, so what lies between the Reshapes is done on four axes instead:
(L, N, E) -> (L, N, heads, d). Older transformers, and masks, put heads that had an axis there: (N, heads, L, d) ->
(N heads, L, d), which then is no Reshape any more. The entries and their order are the same, and so are the nodes.

requires  a normalised model with inferred shapes
ensures   such axes are two, unless a node in between is not understood; then everything is as it was
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxprune.graph.shape_values import add_initializer, shape_values
from onnxprune.graph.shapes import infer_shapes
from onnxprune.graph.sizes import named, same_sizes

_ELEMENTWISE = frozenset({"Add", "Cast", "Clip", "Div", "Dropout", "Identity", "Mul", "Neg", "Sub", "Where"})
_RANK = 3


@dataclass(frozen=True)
class _Fold:
    """A Reshape that puts samples and heads on one axis: which, how many heads, and the target that parts them."""

    axis: int
    heads: int
    target: list[int]


@dataclass
class _Region:
    """What lies behind some of the Reshapes.

    Attributes:
        sizes: What the graph computes of sizes.
        axis_of: For each value, which of its axes holds samples and heads.
        made_by: For each value, the Reshapes that it comes from.
        inside: The nodes that work on three axes.
        stuck: Reshapes behind which there is a node that is not understood.
        attended: Reshapes behind which matrices are multiplied, or heads told from samples for that.
    """

    sizes: Mapping[str, np.ndarray]
    axis_of: dict[ir.Value, int] = field(default_factory=dict)
    made_by: dict[ir.Value, set[ir.Node]] = field(default_factory=dict)
    inside: list[ir.Node] = field(default_factory=list)
    stuck: set[ir.Node] = field(default_factory=set)
    attended: set[ir.Node] = field(default_factory=set)


def separate_heads(model: ir.Model) -> bool:
    """Do so in place; tell whether there were any."""
    candidates = [node for node in model.graph if _makes_three_axes(node)]
    sizes = shape_values(model, products=True) if candidates else {}
    folds = {node: fold for node in candidates if (fold := _fold_of(node, sizes)) is not None}
    while folds:
        region = _region(model, folds, sizes)
        fit = region.attended - region.stuck
        if fit == set(folds):
            break
        folds = {node: fold for node, fold in folds.items() if node in fit}
    else:
        return False
    for node, fold in folds.items():
        target = np.array(fold.target, dtype=np.int64)
        node.replace_input_with(1, add_initializer(model.graph, f"{node.name}.heads", target))
        node.attributes.pop("allowzero", None)
    for node in region.inside:
        _renumber(node, region)
    for value in region.axis_of:
        value.shape = None
    infer_shapes(model)
    return True


def _makes_three_axes(node: ir.Node) -> bool:
    if node.op_type != "Reshape" or node.domain or node.inputs[0] is None or node.outputs[0].is_graph_output():
        return False
    return len(node.outputs[0].shape or ()) == _RANK and len(node.inputs[0].shape or ()) in {_RANK, _RANK + 1}


def _fold_of(node: ir.Node, sizes: Mapping[str, np.ndarray]) -> _Fold | None:
    """Describe a Reshape that puts samples of unknown number and heads on one axis; None if it does not."""
    before, after = (list(v.shape or ()) for v in (node.inputs[0], node.outputs[0]) if v is not None)
    if len(before) == _RANK and same_sizes(before[:1], after[:1]) and not isinstance(after[1], int):
        channels, width = before[2], after[2]
        if isinstance(channels, int) and isinstance(width, int) and 0 < width < channels and channels % width == 0:
            return _Fold(1, channels // width, [0, 0, channels // width, width])
    if len(before) == _RANK + 1 and same_sizes(before[-1:], after[-1:]) and not isinstance(after[0], int):
        heads = before[1]
        if isinstance(heads, int) and heads > 1 and (same_sizes(before[2:3], after[1:2]) or _is_product(node, sizes)):
            return _Fold(0, heads, [0, 0, 0, 0])
    return None


def _is_product(node: ir.Node, sizes: Mapping[str, np.ndarray]) -> bool:
    """Say whether the first size that a Reshape asks for is that of the first two axes, by what the graph computes."""
    source, target = node.inputs[:2]
    entries = sizes.get(str(target.name)) if target is not None else None
    if entries is None or source is None or source.shape is None:
        return False
    samples, heads = source.shape[0], source.shape[1]
    name = samples.value if isinstance(samples, ir.SymbolicDim) else None
    return name is not None and isinstance(heads, int) and entries[0] == named(name) * heads


def _region(model: ir.Model, folds: Mapping[ir.Node, _Fold], sizes: Mapping[str, np.ndarray]) -> _Region:
    region = _Region(sizes)
    for node in model.graph:
        if node in folds:
            region.axis_of[node.outputs[0]], region.made_by[node.outputs[0]] = folds[node].axis, {node}
            continue
        read = [value for value in node.inputs if value in region.axis_of]
        if not read:
            continue
        sources = set[ir.Node]().union(*(region.made_by[value] for value in read if value is not None))
        if node.op_type == "Reshape" and _leaves(node, region):
            after = node.outputs[0].shape
            if after is not None and len(after) == _RANK + 1:
                region.attended |= {source for source in sources if after[1] == folds[source].heads}
            continue
        axis = None if node.domain or node.outputs[0].is_graph_output() else _axis_after(node, region)
        if axis is None:
            region.stuck |= sources
            continue
        if node.op_type == "MatMul":
            region.attended |= sources
        region.inside.append(node)
        region.axis_of[node.outputs[0]], region.made_by[node.outputs[0]] = axis, sources
    for value, sources in region.made_by.items():
        if any(use.node.graph is not model.graph for use in value.uses()):
            # A branch or a loop reads it with the axes that it has.
            region.stuck |= sources
    return region


def _leaves(node: ir.Node, region: _Region) -> bool:
    """Say whether a Reshape gives the same of four axes as of three: it takes over none behind the shared one."""
    value, target = node.inputs[0], node.inputs[1]
    if value not in region.axis_of or target is None:
        return False
    if node.attributes.get_int("allowzero", 0) != 0:
        return True
    entries = target.const_value.numpy() if target.const_value is not None else region.sizes.get(str(target.name))
    behind = () if entries is None else entries[region.axis_of[value] :]
    return entries is not None and all(entry is None or entry != 0 for entry in behind)


def _axis_after(node: ir.Node, region: _Region) -> int | None:
    """Return which axis of a node's output holds samples and heads, None where that is not known."""
    axes = [region.axis_of.get(value) if value is not None else None for value in node.inputs]
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm", tuple(reversed(range(_RANK))))
        return list(order).index(axes[0] or 0)
    if node.op_type == "MatMul":
        return 0 if axes == [0, 0] else None
    if node.op_type == "Softmax":
        axis = node.attributes.get_int("axis", -1) % _RANK
        new = node.graph is not None and node.graph.opset_imports.get("", 0) >= 13
        return axes[0] if new and axis != axes[0] else None
    if node.op_type in _ELEMENTWISE and len(node.outputs) == 1:
        shared = {axis for axis in axes if axis is not None}
        others = [value for value, axis in zip(node.inputs, axes, strict=True) if axis is None and value is not None]
        axis = shared.pop()
        return axis if not shared and all(_is_spread_along(value, axis) for value in others) else None
    return None


def _is_spread_along(value: ir.Value, axis: int) -> bool:
    """Say whether a value is repeated along an axis of three, by not having it or having one entry there."""
    if value.shape is None or len(value.shape) > _RANK:
        return False
    rank = len(value.shape)
    # What has axes in front of the shared one would have to be given one more.
    return rank < _RANK - axis or (rank == _RANK - axis and value.shape[0] == 1)


def _renumber(node: ir.Node, region: _Region) -> None:
    """Let a node name axes as they are now: what was behind the shared axis is one further back."""
    shared = region.axis_of.get(node.inputs[0]) if node.inputs[0] is not None else None
    if node.op_type == "Transpose" and shared is not None:
        order = node.attributes.get_ints("perm", tuple(reversed(range(_RANK))))
        node.attributes["perm"] = ir.AttrInt64s("perm", list(_split(order, shared)))
    elif node.op_type == "Softmax" and shared is not None:
        axis = node.attributes.get_int("axis", -1) % _RANK
        node.attributes["axis"] = ir.AttrInt64("axis", axis + (axis > shared))


def _split(order: Sequence[int], shared: int) -> Iterator[int]:
    for axis in order:
        yield axis + (axis > shared)
        if axis == shared:
            yield axis + 1
