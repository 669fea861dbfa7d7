"""What becomes of the axes of a value: which of them its readers fix.

Where an axis of channels breaks into several, only one of them can lose entries. It must not be one that statistics
are taken over, say, a few nodes behind. So labels are run through these nodes on trial, by the operators' own rules.
A wrong guess costs channels that could have gone, never a wrong network.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxprune.channels.flowing import flow_through
from onnxprune.channels.labels import Axes, Labels
from onnxprune.graph.sizes import dims

# What breaks or joins axes itself ends the trial.
_REGROUPING = frozenset({"Reshape", "Flatten", "DepthToSpace", "SpaceToDepth"})
_MOST_NODES = 32


def fixed_axes(value: ir.Value, labels: Labels) -> frozenset[int]:
    """Find the axes of a value that its readers fix.

    Args:
        value: The value, which no node behind has labelled yet.
        labels: The run's state; it is not changed.

    Returns:
        Positions of the axes none of whose entries could go.
    """
    trial = _Trial(labels)
    axes = trial.of(value)
    for node in _readers(value):
        flow_through(node, trial)
    _, reason = trial.classes()
    return frozenset(i for i, axis in enumerate(axes) if axis is not None and (reason[axis] >= 0).all())


class _Trial(Labels):
    """Labels of a few nodes: what comes from elsewhere is free."""

    def __init__(self, labels: Labels) -> None:
        super().__init__(labels.known_values, labels.size_values, labels.head_splits, embedding=labels.embedding)

    def of(self, value: ir.Value | None) -> Axes:
        if value is not None and str(value.name) not in self.axes:
            self.set(value, [self.fresh(s) if isinstance(s, int) and s > 1 else None for s in dims(value)])
        return super().of(value)


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """Yield the nodes behind a value, near ones first, up to where axes are regrouped again."""
    found: dict[ir.Node, None] = {}
    queue = [value]
    while queue:
        for use in queue.pop(0).uses():
            node = use.node
            if node in found or node.op_type in _REGROUPING or len(found) == _MOST_NODES:
                continue
            found[node] = None
            queue += node.outputs
            yield node
