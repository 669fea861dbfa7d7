"""Ops that pick parts of an axis: Slice, Split, Gather, GatherND. Their bounds, sizes, indices follow what remains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Axes, Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import is_weight, named, opset, positive, set_constant, set_entries
from onnxprune.channels.outlook import fixed_axes
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.channels.regroup import regroup
from onnxprune.graph.shape_values import add_initializer
from onnxprune.graph.sizes import dims

Known = Callable[[ir.Value | None], np.ndarray | None]
"""What the graph determines of a small tensor, None entries where dynamic."""


@flow("Split")
def split(node: ir.Node, labels: Labels) -> None:
    """Cut the labels where the outputs are cut."""
    axes = labels.of(node.inputs[0])
    axis = positive(node.attributes.get_int("axis", 0), len(axes))
    labelled = axes[axis]
    sizes = [dims(output)[axis] if dims(output) else None for output in node.outputs]
    if labelled is not None and not all(isinstance(s, int) for s in sizes):
        labels.pin(labelled, f"{named(node)} cuts them at places that are not known beforehand", hints.SIZES)
        labelled = None
    start = 0
    for output, size in zip(node.outputs, sizes, strict=True):
        part: Axis = None
        if labelled is not None:
            assert isinstance(size, int)
            part = labelled[start : start + size]
            start += size
        labels.set(output, (*axes[:axis], part, *axes[axis + 1 :]))


@resize("Split")
def split_sizes(node: ir.Node, removal: Removal) -> None:
    """State each part's size: parts that were equal need not stay so."""
    axis = positive(node.attributes.get_int("axis", 0), len(dims(node.outputs[0])))
    if removal.kept(node.inputs[0], axis) is None:
        return
    sizes = [_part_size(output, axis, removal) for output in node.outputs]
    if opset(node) < 13:
        node.attributes["split"] = ir.AttrInt64s("split", sizes)
        return
    node.attributes.pop("num_outputs", None)
    set_constant(node, 1, np.array(sizes, dtype=np.int64))


def _part_size(output: ir.Value, axis: int, removal: Removal) -> int:
    kept = removal.kept(output, axis)
    if kept is not None:
        return int(kept.sum())
    # Nothing was removed: the part's size is the one inferred for the original.
    size = dims(output)[axis]
    assert isinstance(size, int)
    return size


@flow("Slice")
def slice_(node: ir.Node, labels: Labels) -> None:
    """Pick a range of each axis, by any step; where a bound is not known beforehand, that axis is fixed."""
    value = node.inputs[0]
    assert value is not None
    axes = list(labels.of(value))
    sliced = _bounds(node, labels.known, len(axes))
    for position, axis in enumerate(axes):
        if axis is None or (sliced is not None and position not in sliced):
            continue
        bounds = sliced[position] if sliced is not None else (None, None, None)
        if _are_known(bounds):
            axes[position] = axis[_range(bounds, len(axis))]
        else:
            labels.pin(axis, f"{named(node)} picks them by bounds that are not known beforehand", hints.SIZES)
            axes[position] = None
    labels.set(node.outputs[0], axes)


Bounds = tuple[int, int, int]
"""Start, end and step."""
Given = tuple[int | None, int | None, int | None]
"""Likewise, as far as they are known."""


def _are_known(bounds: Given) -> TypeGuard[Bounds]:
    return None not in bounds


def _range(bounds: Bounds, size: int) -> np.ndarray:
    """Return the indices that bounds pick of an axis."""
    return np.arange(*slice(*bounds).indices(size))


def _bounds(node: ir.Node, known: Known, rank: int) -> dict[int, Given] | None:
    """Start, end and step by axis; attributes before opset 10, inputs since. None where the axes are not known."""
    if len(node.inputs) == 1:
        starts, ends = node.attributes.get_ints("starts"), node.attributes.get_ints("ends")
        axes = node.attributes.get_ints("axes", None) or range(len(starts))
        return {positive(a, rank): (s, e, 1) for a, s, e in zip(axes, starts, ends, strict=True)}
    count = next((d for v in node.inputs[1:] if v is not None for d in dims(v) if isinstance(d, int)), None)
    if count is None:
        return None
    inputs = [*node.inputs[1:], None, None][:4]
    defaults: tuple[list[int | None], ...] = ([None] * count, [None] * count, list(range(count)), [1] * count)
    first, last, positions, steps = (
        default if value is None else _listed(known(value), count)
        for value, default in zip(inputs, defaults, strict=True)
    )
    named_axes = [positive(axis, rank) for axis in positions if axis is not None]
    if len(named_axes) < count:
        return None
    return {a: (s, e, t) for a, s, e, t in zip(named_axes, first, last, steps, strict=True)}


def _listed(entries: np.ndarray | None, count: int) -> list[int | None]:
    return [None] * count if entries is None else [None if e is None else int(e) for e in entries.flat]


@resize("Slice")
def slice_bounds(node: ir.Node, removal: Removal) -> None:
    """Move bounds on labelled axes to where the remaining entries are."""
    value = node.inputs[0]

    def known(value: ir.Value | None) -> np.ndarray | None:
        return removal.known.get(str(value.name)) if value is not None else None

    sliced = _bounds(node, known, len(dims(node.outputs[0])))
    if sliced is None:
        return
    stale = _are_counted_anew(node, removal)
    for position, bounds in sliced.items():
        mask = removal.kept(value, position)
        if mask is not None and _are_known(bounds):
            sliced[position] = _moved(node, position, bounds, mask)
            stale = True
    if not stale:
        return
    starts, ends, steps = zip(*sliced.values(), strict=True)
    if len(node.inputs) == 1:
        node.attributes["starts"] = ir.AttrInt64s("starts", starts)
        node.attributes["ends"] = ir.AttrInt64s("ends", ends)
        return
    # All of one type, whichever it was.
    for index, entries in enumerate((starts, ends, tuple(sliced), steps), start=1):
        if index < len(node.inputs) and node.inputs[index] is not None:
            set_entries(node, index, entries)


def _are_counted_anew(node: ir.Node, removal: Removal) -> bool:
    """Tell whether bounds that are known would be another number, computed from a size that something is gone from."""
    queue = list(node.inputs[1:])
    while queue:
        value = queue.pop()
        producer = value.producer() if value is not None and value.name in removal.known else None
        if producer is None:
            continue
        queue += producer.inputs
        if producer.op_type in {"Shape", "Size"} and _lost_some(producer.inputs[0], removal):
            return True
    return False


def _lost_some(value: ir.Value | None, removal: Removal) -> bool:
    return value is not None and any(removal.kept(value, axis) is not None for axis in range(len(dims(value))))


def _moved(node: ir.Node, position: int, bounds: Bounds, kept: np.ndarray) -> Bounds:
    """Return bounds that pick what remains of what was picked; where none do, a Gather in front picks it."""
    start, end, step = bounds
    if step == 1:
        first, last, _ = slice(start, end).indices(len(kept))
        return int(kept[:first].sum()), int(kept[:last].sum()), 1
    picked = _range(bounds, len(kept))
    remaining = (np.cumsum(kept) - 1)[picked[kept[picked]]]
    strides = set(np.diff(remaining).tolist()) or {step}
    if len(remaining) == 0 or len(strides) > 1:
        _gather_in_front(node, position, remaining)
        return 0, len(remaining), 1
    (stride,) = strides
    last = int(remaining[-1]) + stride
    # In front of the first entry there is no index: -1 would be the last one.
    return int(remaining[0]), last if last >= 0 else -int(kept.sum()) - 1, stride


def _gather_in_front(node: ir.Node, axis: int, indices: np.ndarray) -> None:
    graph, data = node.graph, node.inputs[0]
    assert isinstance(graph, ir.Graph)
    assert data is not None
    name = f"{node.name}.picked_{axis}"
    taken = {other.name for other in graph}
    while name in taken:
        name += "_"
    gathering = ir.node("Gather", [data, add_initializer(graph, f"{name}.indices", indices)], attributes={"axis": axis})
    gathering.name, gathering.outputs[0].name = name, f"{name}_output"
    gathering.outputs[0].type = data.type
    graph.insert_before(node, gathering)
    node.replace_input_with(0, gathering.outputs[0])


@flow("Gather")
def gather(node: ir.Node, labels: Labels) -> None:
    """Pick entries by constant indices; by indices computed at run time the axis is fixed (an embedding's rows)."""
    data, indices = node.inputs[0], node.inputs[1]
    assert data is not None
    assert indices is not None
    axes = labels.of(data)
    axis = positive(node.attributes.get_int("axis", 0), len(axes))
    picked: Axes = (None,) * len(dims(indices))
    labelled = axes[axis]
    if not indices.is_initializer():
        labels.pin_all([indices], f"{named(node)} picks by them")
    if labelled is not None:
        known = _constant(indices, labels.known)
        if known is None:
            labels.pin(labelled, f"{named(node)} picks them by indices that are not known beforehand", hints.INDICES)
        elif known.ndim == 0 or known.size == 0:
            labels.pin(labelled[known.reshape(-1)], f"{named(node)} picks it out")
        else:
            picked = _picked(node, labels, labelled[known], axis)
    for position, other in enumerate(axes if is_weight(data) else ()):
        if position != axis and other is not None and len(other) > 1:
            labels.produce(node, data, position)
    labels.set(node.outputs[0], (*axes[:axis], *picked, *axes[axis + 1 :]))


def _constant(indices: ir.Value, known: Known) -> np.ndarray | None:
    """Return indices that do not depend on what the network reads."""
    if indices.is_initializer() and indices.const_value is not None:
        return indices.const_value.numpy().astype(np.int64)
    entries = known(indices)
    return None if entries is None or None in entries.flat else entries.astype(np.int64)


def _picked(node: ir.Node, labels: Labels, picked: np.ndarray, axis: int) -> Axes:
    """Return the labels of the axes that indices of any rank make: those of a list of them that is reshaped."""
    if picked.ndim == 1:
        return (picked,)

    def outlook() -> frozenset[int]:
        return frozenset(fixed - axis for fixed in fixed_axes(node.outputs[0], labels))

    return regroup(labels, (picked.reshape(-1),), [picked.size], picked.shape, named(node), outlook=outlook)


@resize("Gather")
def gather_indices(node: ir.Node, removal: Removal) -> None:
    """Renumber the indices that remain."""
    data, indices = node.inputs[0], node.inputs[1]
    assert data is not None
    assert indices is not None
    axis = positive(node.attributes.get_int("axis", 0), len(removal.channels.axes.get(str(data.name), ())))
    kept = removal.kept(data, axis)
    known = _constant(indices, lambda value: removal.known.get(str(value.name)) if value is not None else None)
    if kept is None or known is None:
        return
    masks = [removal.kept(node.outputs[0], axis + offset) for offset in range(known.ndim)]
    where = [np.arange(size) if mask is None else mask for size, mask in zip(known.shape, masks, strict=True)]
    remaining = known[np.ix_(*where)] % len(kept)
    set_constant(node, 1, np.asarray((np.cumsum(kept) - 1)[remaining], dtype=np.int64))


@flow("GatherND")
def gather_nd(node: ir.Node, labels: Labels) -> None:
    """Fix the axes that the tuples of indices point into, and those shared with the tuples; the ones behind pass."""
    data, indices = node.inputs[0], node.inputs[1]
    assert data is not None
    assert indices is not None
    axes, tuples = labels.of(data), dims(indices)
    shared = node.attributes.get_int("batch_dims", 0)
    pointed = tuples[-1] if tuples else None
    if not isinstance(pointed, int):
        labels.pin_all([data], f"{named(node)} picks them by indices that are not known beforehand", hints.INDICES)
        labels.set(node.outputs[0], (None,) * len(dims(node.outputs[0])))
        return
    behind = shared + pointed
    if not indices.is_initializer():
        labels.pin_all([indices], f"{named(node)} picks by them")
    for axis in axes[:behind]:
        labels.pin(axis, f"{named(node)} picks them by indices")
    for position, axis in enumerate(axes if is_weight(data) else ()):
        if position >= behind and axis is not None and len(axis) > 1:
            labels.produce(node, data, position)
    labels.set(node.outputs[0], ((None,) * (len(tuples) - 1)) + axes[behind:])
