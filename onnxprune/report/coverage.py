"""How much of a model lies in channels that can be removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.graph import GraphCost


def coverage(channels: ChannelMap, cost: GraphCost) -> float:
    """Return the share of a model's MACs that removable channels take part in, 0 to 1.

    Args:
        channels: The model's analysis.
        cost: What it costs on paper.
    """
    return touched_macs(channels, cost).by_any / cost.macs if cost.macs else 0.0


def touched_macs(channels: ChannelMap, cost: GraphCost) -> Touched:
    """Add up the MACs that each group, and all of them together, take part in."""
    macs = Touched(channels)
    for node in cost.nodes:
        for amount, axes in node.terms:
            macs.add(amount, axes)
    return macs


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
