"""GatherElements, ScatterElements and ScatterND: entries that are picked, or written, one by one or in whole slices."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import named, positive, set_constant
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.graph.sizes import dims


@flow("GatherElements")
def gather_elements(node: ir.Node, labels: Labels) -> None:
    """Pick along an axis, which is fixed; entry by entry along the others, which go with those of the indices."""
    data, indices = node.inputs[0], node.inputs[1]
    assert data is not None
    assert indices is not None
    picked_along = positive(node.attributes.get_int("axis", 0), len(dims(data)))
    out: list[Axis] = []
    pairs = zip(labels.of(data), labels.of(indices), dims(data), dims(indices), strict=True)
    for position, (axis, index, size, count) in enumerate(pairs):
        if position != picked_along and size == count:
            out.append(labels.tie(axis, index, f"{named(node)} picks them by fixed indices"))
            continue
        labels.pin(axis, f"{named(node)} picks them by indices")
        labels.pin(index, f"{named(node)} picks by them")
        out.append(None)
    labels.set(node.outputs[0], out)


@flow("ScatterElements", "Scatter")
def scatter_elements(node: ir.Node, labels: Labels) -> None:
    """Write along an axis, which is fixed; entry by entry along the others, which go together."""
    data, indices, updates = node.inputs[:3]
    assert data is not None
    assert indices is not None
    assert updates is not None
    written_along = positive(node.attributes.get_int("axis", 0), len(dims(data)))
    out: list[Axis] = []
    axes = zip(labels.of(data), labels.of(indices), labels.of(updates), dims(data), dims(indices), strict=True)
    for position, (axis, index, update, size, count) in enumerate(axes):
        if position != written_along and size == count:
            reason = f"{named(node)} writes them by fixed indices"
            out.append(labels.tie(labels.tie(axis, index, reason), update, reason))
            continue
        for fixed in (axis, index, update):
            labels.pin(fixed, f"{named(node)} writes at indices", hints.INDICES)
        out.append(None)
    labels.set(node.outputs[0], out)


@flow("ScatterND")
def scatter_nd(node: ir.Node, labels: Labels) -> None:
    """Write slices at indices; an axis that one constant index each points into keeps its labels, several are fixed."""
    data, indices, updates = node.inputs[:3]
    assert data is not None
    assert indices is not None
    assert updates is not None
    axes, written, tuples = labels.of(data), labels.of(updates), dims(indices)
    pointed = tuples[-1] if tuples else None
    if not isinstance(pointed, int) or len(written) != len(tuples) - 1 + len(axes) - pointed:
        labels.pin_all(node.inputs, f"{named(node)} writes at indices that are not known beforehand", hints.INDICES)
        labels.set(node.outputs[0], (None,) * len(axes))
        return
    reason = f"{named(node)} writes over them what is fixed"
    behind = [labels.tie(a, b, reason) for a, b in zip(axes[pointed:], written[len(tuples) - 1 :], strict=True)]
    at = _places(indices, pointed)
    if at is not None and axes[0] is not None:
        labels.tie(axes[0][at], written[0], reason)
        labels.set(node.outputs[0], (axes[0], *behind))
        return
    for axis in (*axes[:pointed], *written[: len(tuples) - 1]):
        labels.pin(axis, f"{named(node)} writes at indices", hints.INDICES)
    if not indices.is_initializer():
        labels.pin_all([indices], f"{named(node)} writes at them")
    labels.set(node.outputs[0], (*(None for _ in axes[:pointed]), *behind))


def _places(indices: ir.Value, pointed: int) -> np.ndarray | None:
    """Return the constant indices into the first axis, where no other is pointed into; None elsewhere."""
    if pointed != 1 or not indices.is_initializer() or indices.const_value is None or len(dims(indices)) != 2:
        return None
    return indices.const_value.numpy().astype(np.int64).reshape(-1)


@resize("ScatterND")
def scattered_indices(node: ir.Node, removal: Removal) -> None:
    """Renumber the indices that remain."""
    data, indices = node.inputs[0], node.inputs[1]
    assert indices is not None
    at, kept = _places(indices, 1) if dims(indices)[-1:] == (1,) else None, removal.kept(data, 0)
    if at is None or kept is None:
        return
    remaining = at[kept[at]] % len(kept)
    set_constant(node, 1, (np.cumsum(kept) - 1)[remaining].reshape(-1, 1).astype(np.int64))
