"""The result of the analysis: units, groups, and where each unit's slices are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

GroupKind = Literal["channels", "mlp", "head-dim", "heads", "embedding"]
"""What the units of a group are: channels of convolutions, hidden units of matrix products, entries of every head of
attention, whole heads, or channels that a LayerNormalization or a mean takes statistics over."""

Axis = np.ndarray | None
"""Unit at each index of one axis, shape (size,), -1 where the index is fixed; None where all of them are."""


@dataclass(frozen=True)
class Contraction:
    """A place where a node sums over an axis of an activation.

    Attributes:
        node: Name of the Conv, ConvTranspose, Gemm or MatMul node.
        input_index: Which of its inputs is the activation.
        axis: The axis it sums over.
    """

    node: str
    input_index: int
    axis: int


@dataclass(frozen=True)
class Group:
    """Units that live on the same axes, so that only their number matters to the network's structure.

    Attributes:
        index: Position in `ChannelMap.groups`.
        name: Name of the first producer.
        units: The units, shape (units,), ascending.
        producers: Names of the nodes whose weights bring the units forth, in graph order.
        channels_per_unit: Channels of the first producer's output that one unit stands for.
        kind: What the units are.
    """

    index: int
    name: str
    units: np.ndarray
    producers: tuple[str, ...]
    channels_per_unit: int
    kind: GroupKind = "channels"

    @property
    def size(self) -> int:
        """Number of units."""
        return len(self.units)


@dataclass(frozen=True)
class FixedChannels:
    """Output channels of one producer that cannot be removed.

    Attributes:
        producer: Name of the node whose weight brings them forth.
        channels: How many they are.
        reason: What fixes them, with the op and the node.
        hint: What would free them.
    """

    producer: str
    channels: int
    reason: str
    hint: str = ""


@dataclass(frozen=True)
class ChannelMap:
    """Everything removable in a model.

    Attributes:
        unit_count: Number of units; they are numbered from 0.
        axes: For each value name, the units on each of its axes.
        groups: The groups, in graph order of their first producer; together they hold every unit once.
        contractions: Where activations are summed over labelled axes.
        fixed: What cannot be removed and why.
        outputs_of: For each producer, the (value name, axis) of the weight that its output channels come from.
        untouched: Nodes that stay even where nothing of what they read does: the user asked for it.
    """

    unit_count: int
    axes: Mapping[str, tuple[Axis, ...]]
    groups: tuple[Group, ...]
    contractions: tuple[Contraction, ...]
    fixed: tuple[FixedChannels, ...]
    outputs_of: Mapping[str, tuple[str, int]]
    untouched: frozenset[str] = frozenset()

    def axis(self, value: str, axis: int) -> Axis:
        """Return the units on one axis of a value, None where they are all fixed or the value is unknown."""
        axes = self.axes.get(value, ())
        return axes[axis] if -len(axes) <= axis < len(axes) else None

    def group_of_unit(self) -> np.ndarray:
        """Return the group index of every unit, shape (units,)."""
        result = np.empty(self.unit_count, dtype=np.int64)
        for group in self.groups:
            result[group.units] = group.index
        return result
