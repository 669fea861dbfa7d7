"""How much of a model lies in channels that can be removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.graph import GraphCost


def coverage(model: ir.Model, channels: ChannelMap, cost: GraphCost) -> float:
    """Return the share of a model's MACs that removable channels take part in, 0 to 1.

    Args:
        model: A normalised model.
        channels: Its analysis.
        cost: What it costs on paper.
    """
    return touched_macs(model, channels, cost).by_any / cost.macs if cost.macs else 0.0


def touched_macs(model: ir.Model, channels: ChannelMap, cost: GraphCost) -> Touched:
    """Add up the MACs that each group, and all of them together, take part in."""
    macs = Touched(channels)
    for node, node_cost in zip(model.graph, cost.nodes, strict=True):
        if node_cost.macs:
            macs.add(node_cost.macs, summed_axes(node))
    return macs


def summed_axes(node: ir.Node) -> list[tuple[str, int]]:
    """Axes whose sizes multiply to the node's MACs: those of what it writes and of what each entry sums over.

    ConvTranspose: those of what it reads and of what each entry is spread to.
    """
    x, weight, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert weight is not None
    outer = x if node.op_type == "ConvTranspose" else y
    axes = [(str(outer.name), axis) for axis in range(_rank(outer))]
    if node.op_type in ("Conv", "ConvTranspose"):
        return axes + [(str(weight.name), axis) for axis in range(1, _rank(weight))]
    transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0))
    return [*axes, (str(x.name), 0 if transposed else _rank(x) - 1)]


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else 0


class Touched:
    """Adds up what would go if all units of each group, or all units, went."""

    def __init__(self, channels: ChannelMap) -> None:
        """Start from nothing.

        Args:
            channels: The analysis.
        """
        self._channels = channels
        self._group_of_unit = channels.group_of_unit()
        self._shares: dict[int, np.ndarray] = {}
        self.by_group = np.zeros(len(channels.groups))
        self.by_any = 0.0

    def add(self, amount: int, axes: Sequence[tuple[str, int]]) -> None:
        """Add a product of axis sizes.

        Args:
            amount: The product.
            axes: The axes, as (value name, axis); those without units do not matter.
        """
        stays, stays_without_any = np.ones(len(self.by_group)), 1.0
        for name, axis in axes:
            units = self._channels.axis(name, axis)
            if units is not None:
                shares = self._share(units)
                stays *= 1 - shares
                stays_without_any *= 1 - shares.sum()
        self.by_group += amount * (1 - stays)
        self.by_any += amount * (1 - stays_without_any)

    def _share(self, units: np.ndarray) -> np.ndarray:
        """Return the share of an axis that each group holds, shape (groups,)."""
        key = id(units)
        if key not in self._shares:
            groups = self._group_of_unit[units[units >= 0]]
            self._shares[key] = np.bincount(groups, minlength=len(self.by_group)) / len(units)
        return self._shares[key]
