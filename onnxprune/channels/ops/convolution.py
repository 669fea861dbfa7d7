"""Conv, ConvTranspose and DeformConv: plain, grouped and depthwise."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import in_rows, named, tie_rows
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.channels.stand_ins import Dims
from onnxprune.graph.sizes import dims
from onnxprune.graph.sizes import named as named_size


@flow("Conv")
def conv(node: ir.Node, labels: Labels) -> None:
    """Tie input channels with the weight's, per group; output channels are the weight's first axis."""
    _convolve(node, labels, out_axis=0, in_axis=1)


@flow("ConvTranspose")
def conv_transpose(node: ir.Node, labels: Labels) -> None:
    """As Conv, with the weight's channel axes swapped: (C_in, C_out / group, ...)."""
    _convolve(node, labels, out_axis=1, in_axis=0)


@flow("DeformConv")
def deform_conv(node: ir.Node, labels: Labels) -> None:
    """As Conv; of the groups that have offsets of their own the same channels go, and offsets and masks stay."""
    x = labels.of(node.inputs[0])[1]
    if x is not None:
        boxes = in_rows(x, node.attributes.get_int("offset_group", 1))
        tie_rows(labels, boxes.T, f"{named(node)} has offsets for each of several groups, some of them fixed")
    labels.pin_all([node.inputs[2], *node.inputs[4:]], f"{named(node)} looks where they say", hints.POSITIONS)
    _convolve(node, labels, out_axis=0, in_axis=1, bias_index=3)


def _convolve(node: ir.Node, labels: Labels, out_axis: int, in_axis: int, bias_index: int = 2) -> None:
    x, weight = node.inputs[0], node.inputs[1]
    assert x is not None
    assert weight is not None
    x_axes, w_axes = labels.of(x), labels.of(weight)
    groups = node.attributes.get_int("group", 1)
    sizes = dims(weight)
    reason = f"{named(node)} reads them from a fixed axis"
    for axis in [*x_axes[2:], *w_axes[2:]]:
        labels.pin(axis, f"{named(node)} slides over this axis", hints.POSITIONS)
    if groups == 1:
        labels.tie(x_axes[1], w_axes[in_axis], reason)
        labels.contract(node, 0, 1)
        out = w_axes[out_axis]
    elif out_axis == 0:
        width = sizes[1]
        if not isinstance(width, int):
            labels.pin_all(node.inputs, f"{named(node)} reads a kernel of a size not known beforehand", hints.SIZES)
            labels.set(node.outputs[0], (x_axes[0], None, *(None for _ in x_axes[2:])))
            return
        out = _grouped(node, labels, x_axes[1], groups, width)
    else:
        out = _grouped_transpose(node, labels, x_axes[1], groups)
    bias = node.inputs[bias_index] if len(node.inputs) > bias_index else None
    if bias is not None and dims(bias)[0] != 1:
        labels.tie(out, labels.of(bias)[0], reason)
    labels.produce(node, weight, out_axis)
    if out_axis == 0:
        _learn_sizes(node, labels, dims(x), sizes)
    labels.set(node.outputs[0], (x_axes[0], out, *(None for _ in x_axes[2:])))


def _learn_sizes(node: ir.Node, labels: Labels, read: Dims, weight: Dims) -> None:
    """Take note of dynamic sizes that a convolution without strides keeps, by its padding."""
    before, after, kernel = read[2:], dims(node.outputs[0])[2:], weight[2:]
    count = len(kernel)
    strides, dilations, pads = (
        node.attributes.get_ints(name, [default] * length)
        for name, default, length in (("strides", 1, count), ("dilations", 1, count), ("pads", 0, 2 * count))
    )
    same = node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME")
    for i, (size, old, new) in enumerate(zip(kernel, before, after, strict=True)):
        lost = dilations[i] * (int(size or 1) - 1) - pads[i] - pads[i + count]
        if isinstance(old, str) and strides[i] == 1 and (same or lost == 0):
            labels.learn(new, named_size(old))


def _grouped(node: ir.Node, labels: Labels, x: Axis, groups: int, width: int) -> Axis:
    """Weight (C_out, C_in / group, ...): remove whole groups, or the same channels inside every group."""
    weight = node.inputs[1]
    out, inner = labels.of(weight)[:2]
    reason = f"{named(node)} works on {groups} groups of {width} channels, some of them fixed"
    if out is None or (x is None and len(out) == groups):
        for axis in (x, out, inner):
            labels.pin(axis, reason, hints.TIED)
        return None
    out_boxes = in_rows(out, groups)
    if x is None:
        # Of every group as many filters can go, which read all that they read before.
        labels.pin(inner, reason, hints.TIED)
        tie_rows(labels, out_boxes.T, reason)
        labels.contract(node, 0, 1)
        return out
    in_boxes = in_rows(x, groups)
    if width > 1:
        labels.grouped[str(node.name)] = (x, out)
    if whole_groups(groups, width) != (node.name in labels.turned):
        tie_rows(labels, in_boxes, reason)
        tie_rows(labels, out_boxes, reason)
        labels.tie(in_boxes[:, 0], out_boxes[:, 0], reason)
        labels.pin(inner, f"{named(node)} keeps the width of its groups", hints.WIDTH)
        return out
    tie_rows(labels, in_boxes.T, reason)
    tie_rows(labels, out_boxes.T, reason)
    labels.tie(in_boxes[0], inner, reason)
    labels.contract(node, 0, 1)
    return out


def _grouped_transpose(node: ir.Node, labels: Labels, x: Axis, groups: int) -> Axis:
    """Weight (C_in, C_out / group, ...): a group's outputs go with its inputs, so whole groups are removed."""
    weight = node.inputs[1]
    w_in, w_out = labels.of(weight)[:2]
    width_out = int(dims(weight)[1] or 1)  # type: ignore[arg-type]
    reason = f"{named(node)} works on {groups} groups, some of them fixed"
    x = labels.tie(x, w_in, reason)
    labels.pin(w_out, f"{named(node)} keeps the width of its groups", hints.WIDTH)
    if x is None:
        return None
    boxes = in_rows(x, groups)
    tie_rows(labels, boxes, reason)
    return np.repeat(boxes[:, 0], width_out)


def whole_groups(groups: int, width: int) -> bool:
    """Decide whether a grouped convolution loses whole groups or channels inside each.

    Many narrow groups (depthwise, ResNeXt, RegNet) keep their width, which the kernels are built for; few wide
    ones (ShuffleNet v1, AlexNet) have no group to spare.
    """
    return 2 * groups >= width


@resize("Conv", "ConvTranspose", "DeformConv")
def convolution_groups(node: ir.Node, removal: Removal) -> None:
    """Lower `group` where whole groups were removed."""
    groups = node.attributes.get_int("group", 1)
    kept = removal.kept(node.inputs[0], 1)
    if groups == 1 or kept is None:
        return
    boxes = kept.reshape(groups, -1)
    remaining = int(boxes.any(axis=1).sum())
    if remaining != groups:
        node.attributes["group"] = ir.AttrInt64("group", remaining)
