"""Normalisations: per-channel constants go with their channel; statistics over channels fix them."""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Axes, Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import grouped_in_rows, named, positive
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.graph.sizes import dims


@flow("BatchNormalization", "InstanceNormalization")
def channel_normalization(node: ir.Node, labels: Labels) -> None:
    """Tie scale, bias, mean and variance with the channel axis; every channel has its own statistics.

    InstanceNormalization, and BatchNormalization in training, take them over the other axes, which are so fixed.
    Without a second axis there is one channel.
    """
    axes = labels.of(node.inputs[0])
    channel = axes[1] if len(axes) > 1 else None
    for value in node.inputs[1:]:
        channel = labels.tie(channel, labels.of(value)[0], f"{named(node)} scales a fixed axis")
    others: list[Axis] = [axes[0], *axes[2:]]
    trains = node.attributes.get_int("training_mode", 0)
    if node.op_type == "InstanceNormalization" or trains:
        for axis in others if trains else others[1:]:
            labels.pin(axis, f"{named(node)} takes statistics over this axis", hints.POSITIONS)
        others = [None if trains else axes[0], *(None for _ in axes[2:])]
    labels.set(node.outputs[0], (others[0], channel, *others[1:])[: len(axes)])
    for output in node.outputs[1:]:
        labels.set(output, (channel,))


@flow("LayerNormalization", "RMSNormalization")
def layer_normalization(node: ir.Node, labels: Labels) -> None:
    """Fix the normalised axes: their statistics see all channels; unless the embedding is to become narrower."""
    axes = labels.of(node.inputs[0])
    first = positive(node.attributes.get_int("axis", -1), len(axes))
    normalised = len(axes) - first
    if labels.embedding and normalised == 1 and axes[first] is not None and len(node.outputs) == 1:
        scaled = _scaled(node, labels, axes)
        embedded = scaled[first]
        if embedded is not None:
            labels.embedded.append(embedded)
        labels.set(node.outputs[0], scaled)
        return
    hint = hints.EMBEDDING if normalised == 1 else hints.TOGETHER
    for axis in [*axes[first:], *(axis for value in node.inputs[1:] for axis in labels.of(value)[-normalised:])]:
        labels.pin(axis, f"{named(node)} takes statistics over all of them", hint)
    scaled = _scaled(node, labels, axes, but_last=normalised)
    for output in node.outputs:
        labels.set(output, (*scaled[:first], *(None for _ in axes[first:])))


def _scaled(node: ir.Node, labels: Labels, axes: Axes, but_last: int = 0) -> list[Axis]:
    """Tie axes with those of scale and bias, which align from the right and may cover more than is normalised."""
    scaled = list(axes)
    for value in node.inputs[1:]:
        sizes = dims(value) if value is not None else ()
        for back in range(but_last + 1, len(sizes) + 1):
            if sizes[-back] != 1:
                scaled[-back] = labels.tie(scaled[-back], labels.of(value)[-back], f"{named(node)} scales a fixed axis")
    return scaled


@flow("GroupNormalization")
def group_normalization(node: ir.Node, labels: Labels) -> None:
    """Tie the channels of each group: the statistics of a group see all of them, so whole groups go."""
    axes = labels.of(node.inputs[0])
    groups = node.attributes.get_int("num_groups")
    reason = f"{named(node)} normalises {groups} groups, some of them fixed"
    for axis in axes[2:]:
        labels.pin(axis, f"{named(node)} takes statistics over this axis", hints.POSITIONS)
    channel = grouped_in_rows(labels, axes[1], groups, reason)
    for value in node.inputs[1:3]:
        # One scale a group before opset 21, one a channel since.
        met, of_value = channel, labels.of(value)[0]
        if met is not None and of_value is not None and len(of_value) < len(met):
            met = met[:: len(met) // groups]
        labels.tie(met, of_value, reason)
    labels.set(node.outputs[0], (axes[0], channel, *(None for _ in axes[2:])))


@resize("GroupNormalization")
def normalised_groups(node: ir.Node, removal: Removal) -> None:
    """Lower the number of groups."""
    kept = removal.kept(node.inputs[0], 1)
    if kept is not None:
        groups = node.attributes.get_int("num_groups")
        remaining = int(kept.reshape(groups, -1).any(axis=1).sum())
        node.attributes["num_groups"] = ir.AttrInt64("num_groups", remaining)


@flow("MeanVarianceNormalization")
def mean_variance(node: ir.Node, labels: Labels) -> None:
    """Fix the axes that statistics are taken over."""
    axes = list(labels.of(node.inputs[0]))
    for position in node.attributes.get_ints("axes", (0, 2, 3)):
        labels.pin(axes[position], f"{named(node)} takes statistics over this axis")
        axes[position] = None
    labels.set(node.outputs[0], axes)


@flow("LRN")
def local_response(node: ir.Node, labels: Labels) -> None:
    """Fix the channel axis: each channel is divided by its neighbours."""
    axes = labels.of(node.inputs[0])
    labels.pin(axes[1], f"{named(node)} mixes neighbouring channels")
    labels.set(node.outputs[0], (axes[0], None, *axes[2:]))


@flow("QuantizeLinear", "DequantizeLinear")
def quantization(node: ir.Node, labels: Labels) -> None:
    """Tie per-channel scales and zero points with the axis they belong to."""
    axes = list(labels.of(node.inputs[0]))
    axis = positive(node.attributes.get_int("axis", 1), len(axes))
    for value in node.inputs[1:]:
        scale = labels.of(value)
        if len(scale) == 1 and dims(value)[0] != 1 and axis < len(axes):  # type: ignore[arg-type]
            axes[axis] = labels.tie(axes[axis], scale[0], f"{named(node)} scales a fixed axis")
        elif len(scale) > 1:
            labels.pin_all([node.inputs[0], value], f"{named(node)} scales blocks of entries")
            axes = [None] * len(axes)
    labels.set(node.outputs[0], axes)
