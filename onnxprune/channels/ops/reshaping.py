"""Ops that fold, unfold, permute and repeat axes."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import axes_argument, named, opset, patch_sizes, positive, set_constant
from onnxprune.channels.outlook import fixed_axes
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.channels.regroup import regroup
from onnxprune.channels.stand_ins import PRIMES, Dims
from onnxprune.graph.sizes import dims

_AXES_AS_INPUT_SINCE = 13


@flow("Reshape", "Flatten")
def reshape(node: ir.Node, labels: Labels) -> None:
    """Regroup the axes; see `channels.regroup`."""
    value, output = node.inputs[0], node.outputs[0]
    assert value is not None
    heads = labels.head_splits.get(str(node.name))
    free_size = heads if node.name in labels.whole_heads else None
    outlook = partial(fixed_axes, output, labels) if heads is None else frozenset[int]
    sizes = dims(value), dims(output)
    target = node.inputs[1] if node.op_type == "Reshape" else None
    for dim, entry in zip(sizes[1], labels.sizes(target) or (None,) * len(sizes[1]), strict=True):
        labels.learn(dim, entry)
    axes = regroup(labels, labels.of(value), *sizes, named(node), free_size=free_size, outlook=outlook)
    if heads is not None:
        labels.attention[str(node.name)] = [axis for axis in axes if axis is not None]
    labels.set(output, axes)


@resize("Reshape", "Expand")
def target_shape(node: ir.Node, removal: Removal) -> None:
    """Rewrite the entries of the target that name a removed size."""
    target = node.inputs[1] if len(node.inputs) > 1 else None
    rank = len(removal.channels.axes.get(str(node.outputs[0].name), ()))
    if target is None or rank == 0:
        return
    entries = removal.known.get(str(target.name))
    if entries is None:
        # Computed when the network runs, by more than arithmetic on sizes.
        (length,) = dims(target) or (None,)
        entries = np.full(length if isinstance(length, int) else rank, None)
    # Expand's target may leave out leading axes.
    offset = rank - len(entries)
    kept = {p: removal.kept(node.outputs[0], p + offset) for p in range(len(entries))}
    new = {p: int(mask.sum()) for p, mask in kept.items() if mask is not None}
    if new and node.op_type == "Reshape":
        new |= _left_over(node, entries)
    patch_sizes(node, 1, entries, new)


def _left_over(node: ir.Node, entries: np.ndarray) -> dict[int, int]:
    """Let the number of entries say a dynamic size that may have been computed from the removed one."""
    before = dims(node.inputs[0]) if node.inputs[0] is not None else ()
    after = dims(node.outputs[0])
    computed = [p for p, e in enumerate(entries) if e is None and not isinstance(after[p], int)]
    computed = [p for p in computed if after[p] is None or after[p] not in before]
    return {computed[0]: -1} if len(computed) == 1 and -1 not in entries else {}


@flow("Squeeze")
def squeeze(node: ir.Node, labels: Labels) -> None:
    """Drop axes of one entry."""
    value = node.inputs[0]
    assert value is not None
    axes = labels.of(value)
    dropped = axes_argument(node, labels)
    gone = {positive(a, len(axes)) for a in dropped} if dropped is not None else set(_single(dims(value)))
    labels.set(node.outputs[0], [axis for i, axis in enumerate(axes) if i not in gone])


@resize("Squeeze")
def squeezed_axes(node: ir.Node, removal: Removal) -> None:
    """Name the axes of one entry where the node does not: channels of which one is left would count as such."""
    if "axes" in node.attributes or (len(node.inputs) > 1 and node.inputs[1] is not None):
        return
    single = _single(removal.sizes(node.inputs[0]))
    if all(removal.kept(node.inputs[0], axis) is None for axis in range(len(dims(node.outputs[0])) + len(single))):
        return
    if opset(node) < _AXES_AS_INPUT_SINCE:
        node.attributes["axes"] = ir.AttrInt64s("axes", single)
    else:
        set_constant(node, 1, np.array(single, dtype=np.int64))


def _single(sizes: Dims) -> list[int]:
    return [axis for axis, size in enumerate(sizes) if size == 1]


@flow("Unsqueeze")
def unsqueeze(node: ir.Node, labels: Labels) -> None:
    """Insert axes of one entry."""
    axes = iter(labels.of(node.inputs[0]))
    rank = len(dims(node.outputs[0]))
    new = {positive(a, rank) for a in axes_argument(node, labels) or ()}
    labels.set(node.outputs[0], [None if i in new else next(axes, None) for i in range(rank)])


@flow("Transpose")
def transpose(node: ir.Node, labels: Labels) -> None:
    """Permute the axes."""
    axes = labels.of(node.inputs[0])
    order = node.attributes.get_ints("perm", None) or range(len(axes) - 1, -1, -1)
    labels.set(node.outputs[0], [axes[i] for i in order])


@flow("Expand")
def expand(node: ir.Node, labels: Labels) -> None:
    """Carry axes that stay; an axis that one entry is repeated along gets labels of its own."""
    value = node.inputs[0]
    assert value is not None
    axes, before, after = labels.of(value), dims(value), dims(node.outputs[0])
    target = labels.known(node.inputs[1])
    out: list[Axis] = []
    for back in range(len(after), 0, -1):
        size = after[-back]
        old = before[-back] if back <= len(before) else 1
        named_in_target = target is not None and back <= len(target) and target[-back] == size
        if old != 1:
            out.append(axes[-back])
        elif isinstance(size, int) and size > 1 and named_in_target:
            out.append(labels.fresh(size))
        else:
            out.append(None)
    labels.set(node.outputs[0], out)


@flow("Tile")
def tile(node: ir.Node, labels: Labels) -> None:
    """Repeat labels; all copies of an entry go together."""
    axes = labels.of(node.inputs[0])
    repeats = labels.known(node.inputs[1])
    out: list[Axis] = []
    for position, axis in enumerate(axes):
        count = repeats[position] if repeats is not None else None
        if axis is not None and count is None:
            labels.pin(axis, f"{named(node)} repeats them a number of times that is not known beforehand", hints.SIZES)
        out.append(np.tile(axis, count) if axis is not None and count is not None else None)
    labels.set(node.outputs[0], out)


@flow("DepthToSpace", "SpaceToDepth")
def pixel_shuffle(node: ir.Node, labels: Labels) -> None:
    """Unfold, permute and fold, as the operators are defined."""
    value = node.inputs[0]
    assert value is not None
    batch, channels, *positions = dims(value)
    block = node.attributes.get_int("blocksize")
    if not isinstance(channels, int):
        labels.pin_all([value], f"{named(node)} regroups channels whose number is not known beforehand", hints.SIZES)
        labels.set(node.outputs[0], (None,) * 4)
        return
    c = channels
    # Channels move alike whatever the height and width, as long as blocks divide them.
    h, w = (d if isinstance(d, int) else block * prime for d, prime in zip(positions, PRIMES[-2:], strict=True))
    if node.op_type == "SpaceToDepth":
        for axis in labels.of(value)[2:]:
            labels.pin(axis, f"{named(node)} makes channels of each block of them", hints.POSITIONS)
        inner: list[int | str | None] = [batch, c, h // block, block, w // block, block]
        order, after = [0, 3, 5, 1, 2, 4], [batch, c * block**2, h // block, w // block]
    else:
        after = [batch, c // block**2, h * block, w * block]
        if node.attributes.get_string("mode", "DCR") == "DCR":
            inner, order = [batch, block, block, c // block**2, h, w], [0, 3, 4, 1, 5, 2]
        else:
            inner, order = [batch, c // block**2, block, block, h, w], [0, 1, 4, 2, 5, 3]
    pixels = frozenset(order[4:] if node.op_type == "SpaceToDepth" else order[2:])
    unfolded = regroup(labels, labels.of(value), [batch, c, h, w], inner, named(node), outlook=lambda: pixels)
    permuted = tuple(unfolded[i] for i in order)
    labels.set(node.outputs[0], regroup(labels, permuted, [inner[i] for i in order], after, named(node)))
