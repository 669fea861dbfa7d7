"""The cost of a layer at any channel counts, from those that were measured.

A grid of both axes (the granule times powers of two, the layer's own counts, and less than a granule of input channels
where there are few) carries a bilinear surface, as the
cost of a contraction nearly is. Where more is known along one axis, the other at its largest, the surface follows that
staircase too: it is multiplied by how far the staircase lies from the grid's straight lines.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from onnxprune.latency.layers import LayerSpec

Axis = Literal["in", "out"]


class Measured(Protocol):
    """What layers cost, measured or looked up."""

    def cost_ms(self, spec: LayerSpec) -> float:
        """Return the cost of a layer at its counts."""

    def known_counts(self, line: Line) -> Sequence[int]:
        """Return the counts along a line that were measured, ascending."""


@dataclass(frozen=True)
class Line:
    """A layer along one axis in whole granules, its other counts as they are.

    Attributes:
        spec: The layer at the line's upper end; its counts are whole granules.
        axis: The axis; where both are tied, "in", and the other changes with it.
        granule: The step of its counts.
    """

    spec: LayerSpec
    axis: Axis
    granule: int

    @property
    def top(self) -> int:
        """The largest count."""
        return self.spec.channels_in if self.axis == "in" else self.spec.channels_out

    @property
    def fine(self) -> int:
        """The step below one granule: a layer that reads less than a block often does so without filling it up."""
        quarter = self.granule // 4
        narrow = self.axis == "in" and not self.spec.tied and self.top <= 2 * self.granule
        return quarter if narrow and self.granule % 4 == 0 and quarter % self.spec.groups == 0 else self.granule

    @property
    def counts(self) -> list[int]:
        """All counts, ascending."""
        return [*range(self.fine, self.granule, self.fine), *range(self.granule, self.top + 1, self.granule)]

    @property
    def grid(self) -> list[int]:
        """The counts that a surface rests on: the finest step times powers of two, and the largest."""
        grid = [self.fine]
        while grid[-1] * 2 < self.top:
            grid.append(grid[-1] * 2)
        return sorted({*grid, self.top})

    def up(self, count: int) -> int:
        """Return the next count of the line from a count on."""
        return _up(count, self.granule if count > self.granule else self.fine)

    def at(self, count: int) -> LayerSpec:
        """Return the layer at a count of the axis."""
        if self.spec.tied:
            return self.spec.along(count)
        if self.axis == "in":
            return self.spec.at(count, self.spec.channels_out)
        return self.spec.at(self.spec.channels_in, count)


def lines(spec: LayerSpec, granule_in: int, granule_out: int) -> tuple[Line, ...]:
    """Return a layer's lines: input and output channels, or the one of both where they are tied."""
    up_in = _up(spec.channels_in, granule_in)
    if spec.tied:
        return (Line(spec.along(up_in), "in", granule_in),)
    whole = spec.at(up_in, _up(spec.channels_out, granule_out))
    return Line(whole, "in", granule_in), Line(whole, "out", granule_out)


def grid_of(both: tuple[Line, ...]) -> list[LayerSpec]:
    """Return the layers that the surface over these lines rests on."""
    first, last = both[0], both[-1]
    if first is last:
        return [first.at(count) for count in first.grid]
    return [first.spec.at(a, b) for a in first.grid for b in last.grid]


def surface(table: Measured, spec: LayerSpec, granule_in: int, granule_out: int) -> Callable[[int, int], float]:
    """Return the cost of a layer as a function of (channels in, channels out).

    Counts are rounded up to whole granules: what lies between two of them costs as much as the upper one.
    The layer's own counts need not fill a granule; what that costs more is measured and kept as a factor.
    """
    own = table.cost_ms(spec)
    smooth = _interpolated(table, lines(spec, granule_in, granule_out))
    top = smooth(spec.channels_in, spec.channels_out)
    factor = own / top if top > 0 else 1.0
    misaligned_in, misaligned_out = spec.channels_in % granule_in > 0, spec.channels_out % granule_out > 0

    # A search asks for the same counts thousands of times.
    @functools.cache
    def cost_ms(channels_in: int, channels_out: int) -> float:
        value = smooth(channels_in, channels_out)
        still_in = misaligned_in and channels_in == spec.channels_in
        still_out = misaligned_out and channels_out == spec.channels_out
        aligned = not (still_in or still_out) and (misaligned_in or misaligned_out)
        return value if aligned else value * factor

    return cost_ms


def linear(cost: Callable[[int], float], grid: Sequence[int], count: int) -> float:
    """Interpolate between the grid's counts around `count`, which lies within the grid."""
    right = bisect.bisect_left(grid, count)
    at_right = cost(grid[right])
    if grid[right] == count:
        return at_right
    left = grid[right - 1]
    # A larger layer measured as faster is noise, or a count to move up to: it need not cost more.
    at_left = min(cost(left), at_right)
    return at_left + (at_right - at_left) * (count - left) / (grid[right] - left)


def _interpolated(table: Measured, both: tuple[Line, ...]) -> Callable[[int, int], float]:
    first, last = both[0], both[-1]
    finer = [_finer(table, line) for line in both]
    grid_in, grid_out = first.grid, last.grid
    if first is last:
        return lambda count, _: (
            _along(table, first, grid_in, _up(count, first.granule)) * finer[0](_up(count, first.granule))
        )

    def at_input(c_in: int, c_out: int) -> float:
        return linear(lambda b: table.cost_ms(first.spec.at(c_in, b)), grid_out, c_out)

    def cost_ms(c_in: int, c_out: int) -> float:
        a, b = first.up(c_in), last.up(c_out)
        return linear(lambda c: at_input(c, b), grid_in, a) * finer[0](a) * finer[1](b)

    return cost_ms


def _finer(table: Measured, line: Line) -> Callable[[int], float]:
    """Return the factor that a line's staircase differs by from the straight lines between the grid's counts."""
    grid = line.grid
    counts = sorted({*grid, *table.known_counts(line)})
    if len(counts) == len(grid):
        return lambda _: 1.0

    def factor(count: int) -> float:
        straight = _along(table, line, grid, count)
        return _along(table, line, counts, count) / straight if straight > 0 else 1.0

    return functools.cache(factor)


def _along(table: Measured, line: Line, counts: Sequence[int], count: int) -> float:
    return linear(lambda c: table.cost_ms(line.at(c)), counts, count)


def _up(count: int, granule: int) -> int:
    return -(-count // granule) * granule
