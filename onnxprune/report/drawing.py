"""What a picture of a graph shows of each node: what it reads, whose channels it gives, and what is fixed in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap, FixedChannels, short_name
from onnxprune.graph.subgraphs import subgraphs


@dataclass(frozen=True)
class DrawnNode:
    """One node.

    Attributes:
        name: Its name, without what an exporter repeats in it.
        op_type: Its operator.
        inputs: Places of the nodes that it reads, in `draw`'s result.
        channels: Indices on the axis of its output that channels lie on; 0 where there is none.
        parts: Of each group on that axis, its index and how many of the channels are its own.
        produces: Whether its weight brings the channels forth.
        fixed: What is fixed of the channels it brings forth.
    """

    name: str
    op_type: str
    inputs: tuple[int, ...]
    channels: int
    parts: tuple[tuple[int, int], ...]
    produces: bool
    fixed: tuple[FixedChannels, ...]


def draw(model: ir.Model, channels: ChannelMap) -> tuple[DrawnNode, ...]:
    """Describe every node of a model, in graph order.

    Args:
        model: A normalised model.
        channels: Its analysis.
    """
    place = {node: index for index, node in enumerate(model.graph)}
    fixed: dict[str, list[FixedChannels]] = {}
    for entry in channels.fixed:
        fixed.setdefault(entry.producer, []).append(entry)
    of_unit = channels.group_of_unit()
    drawn = []
    for node in model.graph:
        name = str(node.name)
        inside = (inner.inputs for graph in subgraphs(node) for inner in graph.all_nodes())
        producers = (value.producer() for values in (node.inputs, *inside) for value in values if value is not None)
        read = {place[producer] for producer in producers if producer is not None and producer in place}
        units = _channel_axis(node, channels)
        own = fixed.get(name, [])
        size = sum(entry.channels for entry in own) if units is None else len(units)
        drawn.append(
            DrawnNode(
                name=short_name(name),
                op_type=node.op_type,
                inputs=tuple(sorted(read)),
                channels=size,
                parts=() if units is None else _parts(units, of_unit),
                produces=name in channels.outputs_of,
                fixed=tuple(own),
            )
        )
    return tuple(drawn)


def _channel_axis(node: ir.Node, channels: ChannelMap) -> np.ndarray | None:
    """Return the units on the first axis of each of a node's outputs that has any, one after the other.

    What an earlier output has already, such as the states of a recurrence, counts once.
    """
    found: list[np.ndarray] = []
    seen: set[int] = set()
    for value in node.outputs:
        units = next((units for units in channels.axes.get(str(value.name), ()) if units is not None), None)
        if units is not None and not seen.issuperset(units.tolist()):
            found.append(units)
            seen.update(units.tolist())
    return np.concatenate(found) if found else None


def _parts(units: np.ndarray, of_unit: np.ndarray) -> tuple[tuple[int, int], ...]:
    groups, counts = np.unique(of_unit[units[units >= 0]], return_counts=True)
    return tuple(zip(groups.tolist(), counts.tolist(), strict=True))
