"""What an allocation decides about: the groups of a network, the counts that each may keep, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.search.sizes import PaperCost


class CostModel(Protocol):
    """Predicts the cost of a structure, in any unit that is lower for what is wanted (ms, MACs, bytes)."""

    def total(self, counts: np.ndarray) -> float:
        """Return the cost of the whole network."""

    def around(self, group: int, counts: np.ndarray) -> float:
        """Return the cost of everything the count of one group affects."""


@dataclass(frozen=True)
class Admissible:
    """The counts each group may have: those that no larger count is faster than.

    Attributes:
        counts: For each group its counts, descending from the one it starts with.
    """

    counts: tuple[tuple[int, ...], ...]

    @property
    def largest(self) -> np.ndarray:
        """The largest structure, shape (groups,)."""
        return np.array([counts[0] for counts in self.counts], dtype=np.int64)

    @property
    def smallest(self) -> np.ndarray:
        """The smallest structure, shape (groups,)."""
        return np.array([counts[-1] for counts in self.counts], dtype=np.int64)

    def at_most(self, counts: np.ndarray) -> Admissible:
        """Allow only what is left of a structure, shape (groups,), the structure itself included."""
        return Admissible(
            tuple(
                (int(limit), *(c for c in allowed if c < limit))
                for allowed, limit in zip(self.counts, counts, strict=True)
            )
        )

    def at_least(self, counts: np.ndarray) -> Admissible:
        """Allow no less than these counts, shape (groups,); the largest ones stay allowed."""
        return Admissible(
            tuple(
                (allowed[0], *(c for c in allowed[1:] if c >= limit))
                for allowed, limit in zip(self.counts, counts, strict=True)
            )
        )

    def with_halves(self, counts: np.ndarray) -> Admissible:
        """Allow, above each of these counts, shape (groups,), what lies half-way to the next admissible one."""
        return Admissible(
            tuple(
                tuple(sorted({*allowed, *_half_way(allowed, int(count))}, reverse=True))
                for allowed, count in zip(self.counts, counts, strict=True)
            )
        )

    def down_to(self, least: np.ndarray) -> Admissible:
        """Allow, below the smallest count of each group, eighths of it, down to these counts, shape (groups,)."""
        return Admissible(
            tuple(_down_to(allowed, int(limit)) for allowed, limit in zip(self.counts, least, strict=True))
        )

    def nearest(self, group: int, count: float) -> int:
        """Return the admissible count closest to `count`, the larger one of two; something stays of each group."""
        return min(self.counts[group], key=lambda c: (c == 0, abs(c - count), -c))

    def with_nothing(self, groups: Collection[int]) -> Admissible:
        """Allow nothing of some groups to stay."""
        return Admissible(
            tuple(
                (*allowed, 0) if group in groups and allowed[-1] > 0 else allowed
                for group, allowed in enumerate(self.counts)
            )
        )


def _down_to(allowed: tuple[int, ...], limit: int) -> tuple[int, ...]:
    smallest = allowed[-1]
    if smallest <= limit:
        return allowed
    step = max(smallest // 8, 1)
    return (*allowed, *range(smallest - step, limit, -step), limit)


def _half_way(allowed: tuple[int, ...], count: int) -> tuple[int, ...]:
    larger = [other for other in allowed if other > count]
    return ((count + larger[-1]) // 2,) if larger and larger[-1] - count > 1 and count > 0 else ()


@dataclass(frozen=True)
class Problem:
    """What an allocation decides about.

    Attributes:
        channels: The analysis.
        scores: Importance of every unit, shape (units,).
        admissible: Counts each group may have.
        paper: Closed forms of MACs, parameters and bytes.
        cost: Predicted cost that steps are priced by: latency where it is measured, else MACs.
        file_overhead_bytes: Bytes of the file that are no weights.
        branches: For each group that can go whole, the groups that go then, itself first.
        stakes: What is at stake with a group, as a share of what its readers get: of a branch its share of the signal
            that it is added to, 1 where there is nothing else. Shape (groups,); None: 1 for all.
    """

    channels: ChannelMap
    scores: np.ndarray
    admissible: Admissible
    paper: PaperCost
    cost: CostModel
    file_overhead_bytes: int = 0
    branches: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    stakes: np.ndarray | None = None


def thinned(admissible: Admissible, levels: int) -> Admissible:
    """Allow at most so many counts in each group, evenly spread, the largest and the smallest among them."""

    def thin(counts: tuple[int, ...]) -> tuple[int, ...]:
        if len(counts) <= levels:
            return counts
        picked = np.unique(np.linspace(0, len(counts) - 1, levels).round().astype(int))
        return tuple(counts[i] for i in picked)

    return Admissible(tuple(thin(counts) for counts in admissible.counts))


def multiples(channels: ChannelMap, steps: Sequence[int], *, fine: bool = True, min_share: float = 0.1) -> Admissible:
    """Allow the full count of each group and the multiples of its step below.

    Args:
        channels: The analysis.
        steps: Step of each group in channels, of its producer's output.
        fine: Steps are what layers like, so the closest number of units will do; of groups that have no more channels
            than one step it is divided by four: within a block the layers that make a channel get no faster, but those
            that read it do. Else counts of channels are multiples of the step.
        min_share: Share of a group that always stays.
    """
    result = []
    for group, step in zip(channels.groups, steps, strict=True):
        together = group.channels_per_unit
        if not fine:
            units = math.lcm(step, together) // together
        elif group.size * together <= step and step % 4 == 0:
            units = max(1, round(step / 4 / together))
        else:
            units = max(1, round(step / together))
        lowest = max(1, int(np.ceil(group.size * min_share)))
        below = range((group.size - 1) // units * units, lowest - 1, -units)
        result.append((group.size, *(c for c in below if c >= 1)))
    return Admissible(tuple(result))
