"""Shape and Size: what the graph computes of sizes anew when it runs.

As the target of a Reshape or the like, a size that has become smaller is what is wanted. In arithmetic on data, such as
a mean that is spelled out as a sum over a product of sizes, it would be another number: such channels are fixed.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.labels import Labels
from onnxprune.channels.ops.rules import axes_argument, named, positive
from onnxprune.channels.registry import flow
from onnxprune.channels.size_targets import TARGETS
from onnxprune.graph.sizes import dims


@flow("Shape", "Size")
def counting(node: ir.Node, labels: Labels) -> None:
    """Label nothing, and fix the axes whose size is computed with."""
    axes = labels.of(node.inputs[0])
    for position in _computed_with(node, labels, len(axes)):
        labels.pin(axes[position], f"{named(node)} counts them, and the graph computes with the number", hints.SIZES)
    for output in node.outputs:
        labels.set(output, (None,) * len(dims(output)))


def _computed_with(node: ir.Node, labels: Labels, rank: int) -> Iterator[int]:
    """Yield the axes whose size reaches something else than a target."""
    everything = range(rank)
    if node.op_type == "Shape":
        everything = everything[node.attributes.get_int("start", 0) : node.attributes.get_int("end", rank)]
    if node.outputs[0].is_graph_output():
        yield from everything
    for user, index in node.outputs[0].uses():
        if user.graph is not node.graph or _reaches_data(user, index, labels):
            picked = _picked(user, labels, len(everything)) if node.op_type == "Shape" else None
            yield from everything if picked is None else (everything[entry] for entry in picked)


def _picked(node: ir.Node, labels: Labels, count: int) -> list[int] | None:
    """Return the entries of a shape that a node takes; None where that is not known."""
    entries = list(range(count))
    if node.op_type == "Gather":
        indices = labels.known_ints(node.inputs[1])
        return None if indices is None else [positive(index, count) for index in indices]
    if node.op_type == "Slice" and len(node.inputs) > 2:
        starts, ends = labels.known_ints(node.inputs[1]), labels.known_ints(node.inputs[2])
        steps = labels.known_ints(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else [1]
        if starts and ends and steps == [1] and axes_argument(node, labels, 3) in (None, [0]):
            return entries[starts[0] : ends[0]]
    return None


def _reaches_data(node: ir.Node, index: int, labels: Labels) -> bool:
    """Tell whether what a node reads is computed with, by this node or what follows; all is fixed in a subgraph."""
    if node.domain == "" and index in TARGETS.get(node.op_type, ()):
        return False
    if len(node.outputs) != 1 or str(node.outputs[0].name) not in labels.size_values:
        return True
    output = node.outputs[0]
    return output.is_graph_output() or any(
        user.graph is not node.graph or _reaches_data(user, place, labels) for user, place in output.uses()
    )
