"""Ops that look along an axis: reductions, norms, Softmax, ArgMax, TopK, DFT. Channels on that axis are fixed.

Sums and norms are the exception: without a channel they are what they were with zeros there, as in a convolution. So
are means of norms, as ConvNeXt V2's Global Response Normalization takes them (arXiv:2301.00808), divided by as many
channels as there were.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import axes_argument, insert_before, is_weight, named, opset, positive
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.graph.formats import HALVES
from onnxprune.graph.shape_values import add_initializer
from onnxprune.graph.sizes import dims

REDUCTIONS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip
_FLOAT = ir.DataType.FLOAT
_DFT_AXIS_AS_INPUT_SINCE = 20
# Entries that are zero add nothing to these.
_SUMS = frozenset({"ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"})


@flow(*REDUCTIONS)
def reduction(node: ir.Node, labels: Labels) -> None:
    """Contract the reduced axes where zeros add nothing; elsewhere their labels are fixed. The other axes pass.

    Any other mean over channels, as in a LayerNormalization that is spelled out, only becomes another one where
    channels go: where the embedding is to become narrower, that is allowed.
    """
    axes = labels.of(node.inputs[0])
    reduced = _reduced(node, labels)
    if reduced is None:
        labels.pin_all(node.inputs[:1], f"{named(node)} reduces axes that are not known beforehand", hints.INDICES)
        labels.set(node.outputs[0], (None,) * len(dims(node.outputs[0])))
    elif node.op_type in _SUMS or averages_norms(node):
        for position in sorted(reduced):
            _sum(node, labels, position)
        _drop(node, labels, reduced, None)
    elif node.op_type != "ReduceMean":
        _drop(node, labels, reduced, "mixes")
    elif labels.embedding:
        labels.embedded += [axis for position in reduced if (axis := axes[position]) is not None]
        _drop(node, labels, reduced, None)
    else:
        _drop(node, labels, reduced, "averages over", hints.EMBEDDING)


def _reduced(node: ir.Node, known: Labels | Removal) -> set[int] | None:
    """Return the axes a node reduces: all where it names none, unless that means none; None where unknown."""
    rank = len(dims(node.inputs[0])) if node.inputs[0] is not None else 0
    given = axes_argument(node, known)
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return None
    if not given:
        return set() if node.attributes.get_int("noop_with_empty_axes", 0) else set(range(rank))
    return {positive(axis, rank) for axis in given}


def averages_norms(node: ir.Node) -> bool:
    """Say whether a node takes the mean of norms, which are zero of channels that are silenced.

    A LayerNormalization of norms subtracts their mean.
    """
    if node.op_type != "ReduceMean" or any(use.node.op_type == "Sub" for use in node.outputs[0].uses()):
        return False
    producer = _producer(node.inputs[0])
    while producer is not None and (source := _scaled(producer)) is not None:
        producer = _producer(source)
    if producer is None or producer.op_type != "ReduceSum":
        return producer is not None and producer.op_type in _SUMS
    summed = _producer(producer.inputs[0])
    return summed is not None and (
        summed.op_type == "Abs" or (summed.op_type == "Mul" and summed.inputs[0] is summed.inputs[1])
    )


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _scaled(node: ir.Node) -> ir.Value | None:
    """Return what a node scales, moves or takes the root of, so that zeros stay zeros; None if it does not."""
    if node.op_type == "Mul":
        varying = [value for value in node.inputs if value is not None and not value.is_initializer()]
        return varying[0] if len(varying) == 1 else None
    return node.inputs[0] if node.op_type in {"Abs", "Cast", "Identity", "Sqrt"} else None


@resize("ReduceMean")
def mean_of_norms(node: ir.Node, removal: Removal) -> None:
    """Divide by as many channels as there were."""
    value = node.inputs[0]
    if value is None or not averages_norms(node):
        return
    masks = [removal.kept(value, axis) for axis in _reduced(node, removal) or ()]
    share = math.prod(float(mask.mean()) for mask in masks if mask is not None)
    if share == 1 or value.dtype is None:
        return
    assert isinstance(node.graph, ir.Graph)
    half = value.dtype if value.dtype in HALVES else None
    if half is not None:
        # Rounded to half precision, the factor would be another one.
        value = insert_before(node, "Cast", [value], f"{node.name}.wide", _FLOAT, to=_FLOAT.value)
    assert value.dtype is not None
    factor = add_initializer(node.graph, f"{node.name}.share", np.asarray(share, dtype=value.dtype.numpy()))
    value = insert_before(node, "Mul", [value, factor], f"{node.name}.shared", value.dtype)
    if half is not None:
        value = insert_before(node, "Cast", [value], f"{node.name}.narrow", half, to=half.value)
    node.replace_input_with(0, value)


@flow("LpNormalization")
def lp_normalization(node: ir.Node, labels: Labels) -> None:
    """Carry all axes: entries that are zero add nothing to the norm, and stay zero."""
    axes = labels.of(node.inputs[0])
    _sum(node, labels, positive(node.attributes.get_int("axis", -1), len(axes)))
    labels.set(node.outputs[0], axes)


def _sum(node: ir.Node, labels: Labels, axis: int) -> None:
    """Contract an axis of an activation; a norm of weights is the same whatever channels are silenced."""
    if is_weight(node.inputs[0]):
        labels.pin(labels.of(node.inputs[0])[axis], f"{named(node)} sums weights over them")
    else:
        labels.contract(node, 0, axis)


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


@flow("DFT")
def fourier(node: ir.Node, labels: Labels) -> None:
    """Fix the axis that is transformed; the last holds a number's real and imaginary part."""
    axes = labels.of(node.inputs[0])
    rank = len(axes)
    default = node.attributes.get_int("axis", 1 if opset(node) < _DFT_AXIS_AS_INPUT_SINCE else -2)
    named_axis = labels.known_ints(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else [default]
    mixed = range(rank) if not named_axis else {positive(named_axis[0], rank), rank - 1}
    for position in mixed:
        labels.pin(axes[position], f"{named(node)} mixes them")
    labels.set(node.outputs[0], [None if position in mixed else axis for position, axis in enumerate(axes)])


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
