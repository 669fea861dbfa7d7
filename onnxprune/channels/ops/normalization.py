"""Normalisations: per-channel constants go with their channel; statistics over channels fix them."""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.ops.rules import named, positive
from onnxprune.channels.registry import flow


@flow("BatchNormalization", "InstanceNormalization")
def channel_normalization(node: ir.Node, labels: Labels) -> None:
    """Tie scale, bias, mean and variance with the channel axis; every channel has its own statistics."""
    axes = labels.of(node.inputs[0])
    channel = axes[1]
    for value in node.inputs[1:]:
        channel = labels.tie(channel, labels.of(value)[0], f"{named(node)} scales a fixed axis")
    if node.op_type == "InstanceNormalization":
        for axis in axes[2:]:
            labels.pin(axis, f"{named(node)} takes statistics over this axis", hints.POSITIONS)
    labels.set(node.outputs[0], (axes[0], channel, *axes[2:]))
    for output in node.outputs[1:]:
        labels.set(output, (channel,))


@flow("LayerNormalization", "RMSNormalization")
def layer_normalization(node: ir.Node, labels: Labels) -> None:
    """Fix the normalised axes: their statistics see all channels; unless the embedding is to become narrower."""
    axes = labels.of(node.inputs[0])
    first = positive(node.attributes.get_int("axis", -1), len(axes))
    if labels.embedding and first == len(axes) - 1 and axes[first] is not None and len(node.outputs) == 1:
        tied = axes[first]
        for value in node.inputs[1:]:
            if value is not None:
                tied = labels.tie(tied, labels.of(value)[0], f"{named(node)} scales a fixed axis")
        if tied is not None:
            labels.embedded.append(tied)
        labels.set(node.outputs[0], (*axes[:first], tied))
        return
    for axis in axes[first:]:
        labels.pin(axis, f"{named(node)} takes statistics over all of them")
    labels.pin_all(node.inputs[1:], f"{named(node)} takes statistics over all of them")
    for output in node.outputs:
        labels.set(output, (*axes[:first], *(None for _ in axes[first:])))


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
    for value in node.inputs[1:]:
        scale = labels.of(value)
        if len(scale) == 1 and scale[0] is not None:
            axis = positive(node.attributes.get_int("axis", 1), len(axes))
            axes[axis] = labels.tie(axes[axis], scale[0], f"{named(node)} scales a fixed axis")
        elif len(scale) > 1:
            labels.pin_all([node.inputs[0], value], f"{named(node)} scales blocks of entries")
            axes = [None] * len(axes)
    labels.set(node.outputs[0], axes)
