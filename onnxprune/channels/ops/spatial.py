"""Ops that work on space and leave channels alone: pooling, Resize, Pad."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels, dims
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import (
    as_array,
    axes_argument,
    named,
    opset,
    patch_sizes,
    positive,
    set_constant,
    size_of,
)
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.graph.sizes import named as named_size


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
        return isinstance(size, str) and bool(sizes[position] == named_size(size))
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


@flow("Pad")
def pad(node: ir.Node, labels: Labels) -> None:
    """Padded entries are new and removable; negative amounts crop."""
    value = node.inputs[0]
    assert value is not None
    axes = list(labels.of(value))
    amounts = _amounts(node, labels.known_ints(node.inputs[1]) if len(node.inputs) > 1 else None, labels, len(axes))
    if amounts is None:
        labels.pin_all([value], f"{named(node)} pads by amounts that are not known beforehand", hints.SIZES)
        labels.set(node.outputs[0], (None,) * len(axes))
        return
    constant = _mode(node) == "constant"
    for position, (before, after) in amounts.items():
        size = size_of(axes[position], dims(value)[position])
        if (before, after) == (0, 0):
            continue
        if size is None or not constant:
            labels.pin(axes[position], f"{named(node)} pads this axis by its own entries", hints.POSITIONS)
            axes[position] = None
            continue
        inner = as_array(axes[position], size)[max(-before, 0) : size - max(-after, 0)]
        if not (inner >= 0).any():
            axes[position] = None
            continue
        axes[position] = np.concatenate([labels.fresh(max(before, 0)), inner, labels.fresh(max(after, 0))])
    labels.set(node.outputs[0], axes)


def _mode(node: ir.Node) -> str:
    mode: str = node.attributes.get_string("mode", "constant")
    return mode


def _amounts(
    node: ir.Node, entries: list[int] | None, labels: Labels | None, rank: int, axes: list[int] | None = None
) -> dict[int, tuple[int, int]] | None:
    """Padding before and after by axis; from an attribute before opset 11, an input since."""
    if entries is None:
        attribute = node.attributes.get_ints("pads", None)
        if attribute is None or opset(node) >= 11:
            return None
        entries = list(attribute)
    if labels is not None and len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = axes_argument(node, labels, 3)
        if axes is None:
            return None
    positions = [positive(a, rank) for a in axes] if axes is not None else list(range(rank))
    half = len(entries) // 2
    return {position: (entries[i], entries[i + half]) for i, position in enumerate(positions)}


@resize("Pad")
def pad_amounts(node: ir.Node, removal: Removal) -> None:
    """Pad by as many entries as remain of those padded before, and crop as many as remain of those cropped."""
    old = node.inputs[1] if len(node.inputs) > 1 else None
    known = removal.known.get(str(old.name)) if old is not None else None
    entries = [int(e) for e in known.flat] if known is not None and all(e is not None for e in known.flat) else None
    axes_value = node.inputs[3] if len(node.inputs) > 3 else None
    axes_known = removal.known.get(str(axes_value.name)) if axes_value is not None else None
    axes = [int(a) for a in axes_known.flat] if axes_known is not None else None
    rank = len(dims(node.outputs[0])) or (len(entries) // 2 if entries else 0)
    amounts = _amounts(node, entries, None, rank, axes)
    if amounts is None:
        return
    new = {axis: _kept_amounts(node, removal, axis, pair) for axis, pair in amounts.items()}
    if new == amounts:
        return
    flat = [new[axis][0] for axis in amounts] + [new[axis][1] for axis in amounts]
    if entries is not None:
        set_constant(node, 1, np.array(flat, dtype=np.int64))
    else:
        node.attributes["pads"] = ir.AttrInt64s("pads", flat)


def _kept_amounts(node: ir.Node, removal: Removal, axis: int, amounts: tuple[int, int]) -> tuple[int, int]:
    inside, outside = removal.kept(node.inputs[0], axis), removal.kept(node.outputs[0], axis)
    before, after = amounts
    if before > 0 and outside is not None:
        before = int(outside[:before].sum())
    elif before < 0 and inside is not None:
        before = -int(inside[:-before].sum())
    if after > 0 and outside is not None:
        after = int(outside[len(outside) - after :].sum())
    elif after < 0 and inside is not None:
        after = -int(inside[len(inside) + after :].sum())
    return before, after
