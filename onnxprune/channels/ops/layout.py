"""Concat, and ops whose result depends on sizes alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import as_array, named, patch_sizes, positive, size_of
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.graph.sizes import dims


@flow("Concat")
def concat(node: ir.Node, labels: Labels) -> None:
    """Join labels along the axis; tie them on the others."""
    operands = [(labels.of(v), dims(v)) for v in node.inputs if v is not None]
    rank = len(operands[0][0])
    joined = positive(node.attributes.get_int("axis", 0), rank)
    out: list[Axis] = []
    for position in range(rank):
        parts = [(axes[position], sizes[position]) for axes, sizes in operands]
        if position == joined:
            out.append(_joined(node, labels, parts))
            continue
        tied = parts[0][0]
        for axis, _ in parts[1:]:
            tied = labels.tie(tied, axis, f"{named(node)} joins them with a fixed axis")
        out.append(tied)
    labels.set(node.outputs[0], out)


def _joined(node: ir.Node, labels: Labels, parts: list[tuple[Axis, int | str | None]]) -> Axis:
    if all(axis is None for axis, _ in parts):
        return None
    arrays: list[np.ndarray] = []
    for axis, dim in parts:
        size = size_of(axis, dim)
        if size is None:
            for other, _ in parts:
                labels.pin(other, f"{named(node)} joins them with an axis of dynamic size", hints.SIZES)
            return None
        arrays.append(as_array(axis, size))
    return np.concatenate(arrays)


@flow("ConstantOfShape")
def constant_of_shape(node: ir.Node, labels: Labels) -> None:
    """Give the axes whose size is known labels of their own: equal entries, of which any number may go."""
    target = labels.known(node.inputs[0])
    sizes = dims(node.outputs[0]) if target is None else tuple(target.flat)
    known = target is not None
    labels.set(
        node.outputs[0],
        [labels.fresh(size) if known and isinstance(size, int) and size > 1 else None for size in sizes],
    )


@resize("ConstantOfShape")
def filled_shape(node: ir.Node, removal: Removal) -> None:
    """Rewrite the entries of the shape that name a removed size."""
    entries = removal.known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    if entries is None:
        return
    kept = {axis: removal.kept(node.outputs[0], axis) for axis in range(len(entries))}
    patch_sizes(node, 0, entries, {axis: int(mask.sum()) for axis, mask in kept.items() if mask is not None})


@flow("EyeLike")
def eye_like(node: ir.Node, labels: Labels) -> None:
    """Fix the axes whose sizes are those of the result, which is not cut."""
    labels.pin_all(node.inputs, f"{named(node)} counts them", hints.SIZES)
    labels.set(node.outputs[0], (None,) * len(dims(node.outputs[0])))


@flow("Range", "RandomNormal", "RandomUniform", "Constant")
def sizes_only(node: ir.Node, labels: Labels) -> None:
    """Label nothing: the result follows from sizes, which the graph computes anew."""
    for output in node.outputs:
        labels.set(output, (None,) * len(dims(output)))
