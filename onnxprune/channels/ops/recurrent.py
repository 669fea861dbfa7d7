"""RNN, GRU and LSTM: hidden units go with their rows in every gate, and with their column in the recurrence.

With g gates (1, 3, 4), hidden size H and one or two directions D:

    X  (steps, batch, I)    W  (D, g H, I)    R  (D, g H, H)    B  (D, 2 g H)    P  (D, 3 H)
    Y  (steps, D, batch, H)   Y_h, Y_c, initial_h, initial_c  (D, batch, H)

The weights of both directions are one tensor, so a unit goes from both. The recurrence sums over H inside the
operator: its contraction is that of R's last axis.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import named
from onnxprune.channels.registry import Removal, flow, resize
from onnxprune.graph.sizes import dims

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_PEEPHOLES = 3
_INPUTS = 8


@flow(*_GATES)
def recurrence(node: ir.Node, labels: Labels) -> None:
    """Tie a hidden unit's entries wherever they are, and input channels with the weight's."""
    inputs: list[ir.Value | None] = list(node.inputs)
    inputs += [None] * (_INPUTS - len(inputs))
    x, w, r, bias, _, initial_h, initial_c, peepholes = inputs
    gates = _GATES[node.op_type]
    reason = f"{named(node)} reads them from a fixed axis"
    for axis in labels.of(x)[:2]:
        labels.pin(axis, f"{named(node)} runs over this axis")
    labels.tie(labels.of(x)[2], labels.of(w)[2], reason)
    labels.contract(node, 0, 2)
    stuck = f"{named(node)} has hidden units some of whose entries are fixed"
    hidden = labels.of(r)[2]
    for value, blocks in ((w, gates), (r, gates), (bias, 2 * gates), (peepholes, _PEEPHOLES)):
        if value is not None:
            hidden = _tie_gates(labels, hidden, labels.of(value)[1], blocks, stuck)
    for value in (initial_h, initial_c):
        if value is not None:
            hidden = labels.tie(hidden, labels.of(value)[2], stuck)
    labels.contract(node, 2, 2)
    labels.produce(node, w, 1, hidden)
    for output in node.outputs:
        if output.name:
            labels.set(output, (*(None for _ in dims(output)[1:]), hidden))


def _tie_gates(labels: Labels, hidden: Axis, axis: Axis, blocks: int, reason: str) -> Axis:
    """Tie each hidden unit with its entry in every block of an axis (blocks H,)."""
    if axis is None or hidden is None:
        labels.pin(hidden, reason)
        labels.pin(axis, reason)
        return None
    for row in axis.reshape(blocks, -1):
        hidden = labels.tie(hidden, row, reason)
    return hidden


@resize(*_GATES)
def hidden_size(node: ir.Node, removal: Removal) -> None:
    """Lower `hidden_size`."""
    kept = removal.kept(node.inputs[2], 2)
    if kept is not None and "hidden_size" in node.attributes:
        node.attributes["hidden_size"] = ir.AttrInt64("hidden_size", int(kept.sum()))
