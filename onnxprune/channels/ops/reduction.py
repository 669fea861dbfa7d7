"""Ops that look along an axis: reductions, Softmax, ArgMax, TopK. Channels on that axis are fixed."""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import axes_argument, named, opset, positive
from onnxprune.channels.registry import flow

REDUCTIONS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip


@flow(*REDUCTIONS)
def reduction(node: ir.Node, labels: Labels) -> None:
    """Fix the labels on the reduced axes; the others pass.

    A mean over channels, as in a LayerNormalization that is spelled out, only becomes another one where channels go:
    where the embedding is to become narrower, that is allowed.
    """
    axes = labels.of(node.inputs[0])
    rank = len(axes)
    reduced = axes_argument(node, labels)
    has_axes_input = len(node.inputs) > 1 and node.inputs[1] is not None
    if reduced is None and (has_axes_input or not node.attributes.get_int("noop_with_empty_axes", 0)):
        reduced = list(range(rank))
    positions = {positive(a, rank) for a in reduced or ()}
    if node.op_type != "ReduceMean":
        _drop(node, labels, positions, "sums over")
    elif labels.embedding:
        labels.embedded += [axis for position in positions if (axis := axes[position]) is not None]
        _drop(node, labels, positions, None)
    else:
        _drop(node, labels, positions, "averages over", hints.EMBEDDING)


@flow("ArgMax", "ArgMin")
def arg_extremum(node: ir.Node, labels: Labels) -> None:
    """Fix the axis whose index is the result."""
    rank = len(labels.of(node.inputs[0]))
    _drop(node, labels, {positive(node.attributes.get_int("axis", 0), rank)}, "returns indices of")


def _drop(node: ir.Node, labels: Labels, reduced: set[int], what: str | None, hint: str = hints.TOGETHER) -> None:
    """Pass on what is not reduced; fix what is, unless nothing (None) is done to it that would forbid removal."""
    axes = labels.of(node.inputs[0])
    keep = node.attributes.get_int("keepdims", 1)
    out: list[Axis] = []
    for position, axis in enumerate(axes):
        if position not in reduced:
            out.append(axis)
            continue
        if what is not None:
            labels.pin(axis, f"{named(node)} {what} them", hint)
        if keep:
            out.append(None)
    labels.set(node.outputs[0], out)


@flow("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: ir.Node, labels: Labels) -> None:
    """Fix the normalised axis; before opset 13 also all axes behind it."""
    rank = len(labels.of(node.inputs[0]))
    old = opset(node) < 13
    axis = positive(node.attributes.get_int("axis", 1 if old else -1), rank)
    _fix(node, labels, range(axis, rank) if old else range(axis, axis + 1))


@flow("TopK", "CumSum")
def along_axis(node: ir.Node, labels: Labels) -> None:
    """Fix the axis the op sorts or accumulates along."""
    rank = len(labels.of(node.inputs[0]))
    if node.op_type == "TopK":
        axis: int | None = node.attributes.get_int("axis", -1)
    else:
        entries = labels.known_ints(node.inputs[1])
        axis = entries[0] if entries else None
    _fix(node, labels, range(rank) if axis is None else [positive(axis, rank)])


def _fix(node: ir.Node, labels: Labels, fixed: range | list[int]) -> None:
    axes = labels.of(node.inputs[0])
    for position in fixed:
        labels.pin(axes[position], f"{named(node)} mixes them")
    out = [None if position in fixed else axis for position, axis in enumerate(axes)]
    for output in node.outputs:
        labels.set(output, out)
