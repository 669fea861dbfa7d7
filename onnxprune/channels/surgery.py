"""Take units out of a model.

requires  a model, its analysis, and which units stay (none of a group only where `find_branches` says that it can go)
ensures   a new model whose labelled axes hold the remaining indices only and whose encoded sizes follow; names,
          metadata, opset, inputs and outputs as before; the given model is not changed
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxprune.channels.branch_removal import Spread, drop_branches, spread_out
from onnxprune.channels.branches import BranchNeededError, Emptiness, follow
from onnxprune.channels.map import ChannelMap, Group
from onnxprune.channels.registry import Removal, resize_of
from onnxprune.channels.size_targets import settle_sizes
from onnxprune.graph.shape_values import shape_values
from onnxprune.graph.shapes import infer_shapes

_LAZY_BYTES = 64 << 20


def prune(model: ir.Model, channels: ChannelMap, keep: np.ndarray) -> ir.Model:
    """Remove units.

    Args:
        model: A normalised model.
        channels: Its analysis.
        keep: Whether each unit stays, shape (units,).

    Returns:
        The smaller model.

    Raises:
        ValueError: `keep` has the wrong length, or leaves a group without units that cannot go whole.
    """
    empty = _check(channels, keep)
    removal = Removal(channels, keep, shape_values(model))
    pruned = model.clone()
    biases = _without(pruned, channels, empty) if empty else []
    for value in list(pruned.graph.initializers.values()):
        _shrink(value, removal)
    for node in list(pruned.graph):
        rule = resize_of(node)
        if rule is not None:
            rule(node, removal)
    spread_out(biases)
    _resize_values(pruned, removal, told=not empty)
    infer_shapes(pruned)
    if settle_sizes(pruned, removal):
        infer_shapes(pruned)
    return pruned


def embed(model: ir.Model, channels: ChannelMap, keep: np.ndarray, pruned: ir.Model) -> ir.Model:
    """Put the weights of a pruned model back where they were cut from: the inverse of `prune`.

    A network that was pruned and trained can so be pruned further under the analysis of the original.

    Args:
        model: The model that was pruned.
        channels: Its analysis.
        keep: Whether each unit stayed, shape (units,).
        pruned: What surgery made of it, with any weights.

    Returns:
        The model with these weights, and zeros where units are gone.
    """
    removal = Removal(channels, keep, {})
    embedded = model.clone()
    nodes = {node.name for node in pruned.graph}
    for value in embedded.graph.initializers.values():
        small = pruned.graph.initializers.get(str(value.name))
        tensor = value.const_value
        if tensor is None:
            continue
        if small is None or small.const_value is None:
            # Of a branch that is gone whole only a constant is left.
            if tensor.dtype.is_floating_point() and not any(use.node.name in nodes for use in value.uses()):
                value.const_value = ir.tensor(np.zeros(tensor.shape.numpy(), tensor.dtype.numpy()), name=value.name)
            continue
        masks = [removal.kept(value, axis) for axis in range(len(channels.axes.get(str(value.name), ())))]
        if all(mask is None for mask in masks):
            if small.const_value.size == tensor.size and tensor.dtype.is_floating_point():
                value.const_value = _shaped(small.const_value, tensor, str(value.name))
            continue
        sizes = tensor.shape.numpy()
        where = [
            np.arange(size) if mask is None else np.flatnonzero(mask) for mask, size in zip(masks, sizes, strict=True)
        ]
        whole = np.zeros(sizes, dtype=tensor.numpy().dtype)
        # The bias of a branch that is gone has axes to spread it over positions.
        whole[np.ix_(*where)] = small.const_value.numpy().reshape([len(index) for index in where])
        value.const_value = ir.tensor(whole, name=value.name)
    return embedded


def _shaped(tensor: ir.TensorProtocol, like: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    return tensor if tensor.shape == like.shape else ir.tensor(tensor.numpy().reshape(like.shape.numpy()), name=name)


def _without(model: ir.Model, channels: ChannelMap, groups: list[Group]) -> list[Spread]:
    """Take the branches that consist of these groups out of a model, in place."""
    try:
        fates = follow(model, Emptiness(channels).of([group.index for group in groups]))
    except BranchNeededError as error:
        names = ", ".join(f"'{group.name}'" for group in groups)
        raise ValueError(f"nothing would be left of group {names}, which cannot go whole: {error}") from error
    return drop_branches(model, fates)


def _resize_values(model: ir.Model, removal: Removal, *, told: bool) -> None:
    """Give values the shapes that they have now: by what stays of their axes, or none where that does not tell.

    Inference does not see through operators of other domains, and values behind them keep what is said here.
    """
    for node in model.graph:
        for output in node.outputs:
            if output.is_graph_output() or output.shape is None:
                continue
            kept = [removal.kept(output, axis) if told else None for axis in range(len(output.shape))]
            sizes = [dim if mask is None else int(mask.sum()) for dim, mask in zip(output.shape, kept, strict=True)]
            output.shape = ir.Shape(sizes) if told else None


def _check(channels: ChannelMap, keep: np.ndarray) -> list[Group]:
    """Return the groups of which nothing stays."""
    if keep.shape != (channels.unit_count,) or keep.dtype != np.bool_:
        raise ValueError(f"keep must be booleans of shape ({channels.unit_count},), got {keep.dtype} {keep.shape}")
    return [group for group in channels.groups if not keep[group.units].any()]


def _shrink(value: ir.Value, removal: Removal) -> None:
    tensor = value.const_value
    if tensor is None:
        return
    rank = len(removal.channels.axes.get(str(value.name), ()))
    kept = {axis: mask for axis in range(rank) if (mask := removal.kept(value, axis)) is not None}
    if not kept:
        return
    sizes = [int(kept[axis].sum()) if axis in kept else size for axis, size in enumerate(tensor.shape.numpy())]
    value.shape = ir.Shape(sizes)
    if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes >= _LAZY_BYTES:
        # Cut from the mapped file whenever it is looked at, so that there is no second copy of large weights.
        value.const_value = ir.LazyTensor(
            lambda: _cut(tensor, kept), dtype=tensor.dtype, shape=ir.Shape(sizes), name=value.name
        )
    else:
        value.const_value = _cut(tensor, kept)


def _cut(tensor: ir.TensorProtocol, kept: Mapping[int, np.ndarray]) -> ir.TensorProtocol:
    """Return the entries of a tensor that stay, by axis."""
    array = tensor.numpy()
    for axis, mask in kept.items():
        array = np.compress(mask, array, axis=axis)
    cut = ir.tensor(np.ascontiguousarray(array), dtype=tensor.dtype, name=tensor.name)
    if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes >= _LAZY_BYTES:
        # Where somebody holds a view of the mapped file, it stays mapped.
        with contextlib.suppress(BufferError):
            tensor.release()
    return cut
