"""Ops that work on space and leave channels alone: pooling, Resize, Pad."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import (
    as_array,
    named,
    opset,
    patch_sizes,
    positive,
    set_constant,
    size_of,
)
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.channels.regroup import regroup
from onnxprune.graph.sizes import Size, dims
from onnxprune.graph.sizes import named as named_size

_Pair = tuple[int | None, int | None]
"""Entries padded before and behind an axis, None where computed when the network runs."""


@flow("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pooling(node: ir.Node, labels: Labels) -> None:
    """Carry batch and channels; labels on pooled axes are fixed."""
    axes = labels.of(node.inputs[0])
    for axis in axes[2:]:
        labels.pin(axis, f"{named(node)} pools over this axis", hints.POSITIONS)
    for output in node.outputs:
        labels.set(output, (*axes[:2], *(None for _ in axes[2:])))
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        # Indices count through the whole tensor, channels included.
        labels.pin(axes[1], f"{named(node)} returns indices that count channels")


@flow("GridSample", "RoiAlign", "MaxRoiPool")
def sampling(node: ir.Node, labels: Labels) -> None:
    """Carry channels: where is looked is the same for all of them; labels on the other axes are fixed."""
    axes = labels.of(node.inputs[0])
    reason = f"{named(node)} samples along this axis"
    for axis in (axes[0], *axes[2:]):
        labels.pin(axis, reason)
    labels.pin_all(node.inputs[1:], reason)
    labels.set(node.outputs[0], (None, axes[1], *(None for _ in axes[2:])))


@flow("Resize", "Upsample")
def resizing(node: ir.Node, labels: Labels) -> None:
    """Carry the axes whose size stays; labels on resized axes are fixed."""
    axes = labels.of(node.inputs[0])
    before, after = dims(node.inputs[0]), dims(node.outputs[0])  # type: ignore[arg-type]
    out: list[Axis] = []
    for position, axis in enumerate(axes):
        same = after[position] == before[position] if position < len(after) else False
        same = same or _stays(node, labels, position, before[position])
        if axis is not None and not same:
            labels.pin(axis, f"{named(node)} resizes this axis", hints.POSITIONS)
        out.append(axis if same else None)
    labels.set(node.outputs[0], out)


def _stays(node: ir.Node, labels: Labels, position: int, size: int | str | None) -> bool:
    """Tell whether an axis whose sizes have other names keeps its size: by a scale of 1, or by being read off it."""
    if "axes" in node.attributes or node.op_type != "Resize":
        return False
    scales, sizes = (
        labels.size_values.get(str(value.name)) if value is not None else None
        for value in (node.inputs[index] if index < len(node.inputs) else None for index in (2, 3))
    )
    if sizes is not None and len(sizes) > position:
        entry = sizes[position]
        return isinstance(size, str) and isinstance(entry, Size) and entry.exact and entry == named_size(size)
    return scales is not None and len(scales) > position and scales[position] == 1


@resize("Resize")
def resize_sizes(node: ir.Node, removal: Removal) -> None:
    """Rewrite the channel entry of `sizes`."""
    sizes = node.inputs[3] if len(node.inputs) > 3 else None
    entries = removal.known.get(str(sizes.name)) if sizes is not None else None
    if entries is None:
        return
    rank = len(dims(node.outputs[0]))
    axes = [positive(axis, rank) for axis in node.attributes.get_ints("axes", range(len(entries)))]
    kept = {position: removal.kept(node.outputs[0], axis) for position, axis in enumerate(axes)}
    patch_sizes(node, 3, entries, {position: int(mask.sum()) for position, mask in kept.items() if mask is not None})


@flow("Col2Im")
def columns_to_image(node: ir.Node, labels: Labels) -> None:
    """Carry channels, each with all entries of its blocks: (N, C * entries, blocks) -> (N, C, ...)."""
    batch, columns, blocks = labels.of(node.inputs[0])
    block = labels.known_ints(node.inputs[2])
    channels: Axis = None
    if block is None:
        labels.pin(columns, f"{named(node)} has blocks that are not known beforehand", hints.SIZES)
    elif columns is not None:
        entries = math.prod(block)
        sizes = [len(columns) // entries, entries]
        unfolded = regroup(labels, (columns,), [len(columns)], sizes, named(node), outlook=lambda: frozenset({1}))
        channels = unfolded[0]
        labels.pin(unfolded[1], f"{named(node)} places them", hints.POSITIONS)
    labels.pin(blocks, f"{named(node)} places them", hints.POSITIONS)
    labels.set(node.outputs[0], (batch, channels, *(None for _ in dims(node.outputs[0])[2:])))


@flow("Pad")
def pad(node: ir.Node, labels: Labels) -> None:
    """Padded entries are new and removable; negative amounts crop. Axes whose amounts are computed are fixed."""
    value = node.inputs[0]
    assert value is not None
    axes = list(labels.of(value))
    amounts = _amounts(node, labels.known, len(axes))
    if amounts is None:
        labels.pin_all([value], f"{named(node)} pads by amounts that are not known beforehand", hints.SIZES)
        labels.set(node.outputs[0], (None,) * len(axes))
        return
    for position, pair in amounts.items():
        axes[position] = _padded(node, labels, position, pair)
    labels.set(node.outputs[0], axes)


def _padded(node: ir.Node, labels: Labels, position: int, amounts: _Pair) -> Axis:
    """Return the labels of an axis behind the padding."""
    value = node.inputs[0]
    assert value is not None
    axis = labels.of(value)[position]
    size = size_of(axis, dims(value)[position])
    before, after = amounts
    if before is None or after is None:
        labels.pin(axis, f"{named(node)} pads this axis by amounts that are not known beforehand", hints.SIZES)
        return None
    if (before, after) == (0, 0):
        # Inference of shapes loses every size where any amount is unknown; labels keep them, fixed ones too.
        name = dims(node.outputs[0])[position]
        labels.learn(name, labels.size(axis, dims(value)[position]))
        lost = size is not None and size > 1 and not isinstance(name, int)
        return as_array(axis, size) if lost and size is not None else axis
    if size is None or _mode(node) != "constant":
        labels.pin(axis, f"{named(node)} pads this axis by its own entries", hints.POSITIONS)
        return None
    inner = as_array(axis, size)[max(-before, 0) : size - max(-after, 0)]
    if not (inner >= 0).any():
        return None
    return np.concatenate([labels.fresh(max(before, 0)), inner, labels.fresh(max(after, 0))])


def _mode(node: ir.Node) -> str:
    mode: str = node.attributes.get_string("mode", "constant")
    return mode


def _amounts(
    node: ir.Node, known: Callable[[ir.Value | None], np.ndarray | None], rank: int
) -> dict[int, _Pair] | None:
    """Padding before and after by axis, None for amounts that are computed; None where even the axes are."""
    positions = list(range(rank))
    if _axes_input(node) is not None:
        axes = known(_axes_input(node))
        if axes is None or None in axes.flat:
            return None
        positions = [positive(int(axis), rank) for axis in axes.flat]
    entries = _entries(node, known)
    if entries is None:
        # Axes that are not named are not padded.
        return dict.fromkeys(positions, (None, None))
    half = len(positions)
    return {position: (entries[i], entries[i + half]) for i, position in enumerate(positions)}


def _axes_input(node: ir.Node) -> ir.Value | None:
    return node.inputs[3] if len(node.inputs) > 3 else None


def _entries(node: ir.Node, known: Callable[[ir.Value | None], np.ndarray | None]) -> list[int | None] | None:
    """Return the amounts, None entries where computed; from an attribute before opset 11, an input since."""
    if opset(node) < 11:
        return list(node.attributes.get_ints("pads"))
    entries = known(node.inputs[1])
    return None if entries is None else [None if entry is None else int(entry) for entry in entries.flat]


@resize("Pad")
def pad_amounts(node: ir.Node, removal: Removal) -> None:
    """Pad by as many entries as remain of those padded before, and crop as many as remain of those cropped."""

    def known(value: ir.Value | None) -> np.ndarray | None:
        return removal.known.get(str(value.name)) if value is not None else None

    entries = _entries(node, known)
    amounts = _amounts(node, known, len(dims(node.outputs[0])))
    if amounts is None or entries is None:
        return
    new = {axis: _kept_amounts(node, removal, axis, pair) for axis, pair in amounts.items()}
    flat = [new[axis][0] for axis in amounts] + [new[axis][1] for axis in amounts]
    changed = {i: amount for i, amount in enumerate(flat) if amount is not None and amount != entries[i]}
    if not changed:
        return
    if opset(node) < 11:
        node.attributes["pads"] = ir.AttrInt64s("pads", [amount for amount in flat if amount is not None])
    elif None not in flat:
        set_constant(node, 1, np.array(flat, dtype=np.int64))
    else:
        # -1 crops here, where in a shape it stands for what is left over.
        old = np.array([None if i in changed else entry for i, entry in enumerate(entries)], dtype=object)
        patch_sizes(node, 1, old, changed)


def _kept_amounts(node: ir.Node, removal: Removal, axis: int, amounts: _Pair) -> _Pair:
    inside, outside = removal.kept(node.inputs[0], axis), removal.kept(node.outputs[0], axis)
    before, after = amounts
    if before is None or after is None:
        return amounts
    if before > 0 and outside is not None:
        before = int(outside[:before].sum())
    elif before < 0 and inside is not None:
        before = -int(inside[:-before].sum())
    if after > 0 and outside is not None:
        after = int(outside[len(outside) - after :].sum())
    elif after < 0 and inside is not None:
        after = -int(inside[len(inside) + after :].sum())
    return before, after
