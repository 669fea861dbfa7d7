"""Measure what layers cost over their channel counts: a coarse grid of each, then more where the staircase is."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxprune.latency.layer_costs import LayerCosts
from onnxprune.latency.layers import LayerSpec
from onnxprune.latency.surface import Line, grid_of, lines, surface

# Between two counts the straight line is good enough where it misses what was measured by less than this share, ...
_TOLERANCE = 0.03
# ... or by less than this share of what all layers take together.
_NEGLIGIBLE = 0.0005


@dataclass(frozen=True)
class LayerProfile:
    """What is known of a layer.

    Attributes:
        spec: The layer.
        step_in: Step of input channels worth taking; None where the budget ended before it was found.
        step_out: The same of output channels.
        measured: Points that this profile measured.
        points: Points that its costs rest on, those measured before included.
    """

    spec: LayerSpec
    step_in: int | None
    step_out: int | None
    measured: int
    points: int

    @property
    def known(self) -> bool:
        """Whether everything was known before."""
        return self.step_in is not None and self.measured == 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """Its axes; none where the steps are unknown."""
        return () if self.step_in is None or self.step_out is None else lines(self.spec, self.step_in, self.step_out)

    def cost_ms(self, table: LayerCosts) -> Callable[[int, int], float]:
        """Return its cost as a function of (channels in, channels out); of a finished profile it measures nothing."""
        assert self.step_in is not None
        assert self.step_out is not None
        return surface(table, self.spec, self.step_in, self.step_out)


class LayerProfiler:
    """Profiles the layers of a network on one device, as far as a budget goes."""

    def __init__(self, table: LayerCosts, layers: Sequence[LayerSpec], budget_s: float | None = None) -> None:
        """Prepare.

        Args:
            table: The device's.
            layers: The layers; equal ones are measured once.
            budget_s: Seconds of device time, at most; None: no limit.
        """
        self._table = table
        self._copies = Counter(layers)
        self._end_s = None if budget_s is None else table.measured_s + budget_s
        self._steps: dict[LayerSpec, tuple[int, int]] = {}
        self._measured: Counter[LayerSpec] = Counter()

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return self._end_s is not None and self._table.measured_s >= self._end_s

    def charge(self, seconds: float) -> None:
        """Take what was measured otherwise from the budget."""
        self._end_s = None if self._end_s is None else self._end_s - seconds

    def probe(self, on_layer: Callable[[int, int], None] = lambda *_: None) -> None:
        """Find every layer's steps and measure its grid, the most expensive layers first.

        Args:
            on_layer: Called after each layer with the layers done and their number.
        """
        own_ms = {spec: self._cost(spec, spec) for spec in self._copies if not self.spent}
        order = sorted(own_ms, key=lambda spec: -own_ms[spec] * self._copies[spec])
        for done, spec in enumerate(order, start=1):
            if self.spent:
                return
            before = self._table.measured_points
            steps = self._table.granule(spec, "in"), self._table.granule(spec, "out")
            self._measured[spec] += self._table.measured_points - before
            grid = grid_of(lines(spec, *steps))
            for point in grid:
                if not self.spent:
                    self._cost(spec, point)
            if all(self._table.knows(point) for point in grid):
                self._steps[spec] = steps
            on_layer(done, len(self._copies))

    def refine(self) -> None:
        """Halve intervals of counts where straight lines miss the most, until none misses much."""
        total_ms = sum(self._table.cost_ms(spec) * self._copies[spec] for spec in self._steps)
        waiting = [item for spec in self._steps for item in self._first_intervals(spec)]
        heapq.heapify(waiting)
        while waiting and not self.spent:
            interval = heapq.heappop(waiting)
            error_ms, middle = self._halve(interval)
            weighted_ms = error_ms * self._copies[interval.spec]
            off = error_ms > _TOLERANCE * self._table.cost_ms(interval.line.at(middle))
            if off and weighted_ms > _NEGLIGIBLE * total_ms:
                for half in interval.halves(middle, weighted_ms):
                    heapq.heappush(waiting, half)

    def results(self) -> list[LayerProfile]:
        """Return what is known of every layer, in their order."""
        return [self._result(spec) for spec in self._copies]

    def copies(self, spec: LayerSpec) -> int:
        """Return how often a layer is there."""
        return self._copies[spec]

    def _cost(self, spec: LayerSpec, point: LayerSpec) -> float:
        before = self._table.measured_points
        cost_ms = self._table.cost_ms(point)
        self._measured[spec] += self._table.measured_points - before
        return cost_ms

    def _first_intervals(self, spec: LayerSpec) -> list[_Interval]:
        """Return the intervals of the grid that a cost rises over: a flat one hides little."""
        result = []
        for line in lines(spec, *self._steps[spec]):
            for left, right in zip(line.grid, line.grid[1:], strict=False):
                low_ms, high_ms = (self._table.cost_ms(line.at(count)) for count in (left, right))
                if high_ms - low_ms > _TOLERANCE * high_ms:
                    rise_ms = (high_ms - low_ms) * self._copies[spec]
                    result.append(_Interval(rise_ms, spec, line, left, right))
        return [interval for interval in result if interval.divisible]

    def _halve(self, interval: _Interval) -> tuple[float, int]:
        """Measure in the middle; return how far the straight line misses it in ms, and the middle."""
        line, middle = interval.line, interval.middle
        left_ms, right_ms = (self._table.cost_ms(line.at(count)) for count in (interval.left, interval.right))
        share = (middle - interval.left) / (interval.right - interval.left)
        middle_ms = self._cost(interval.spec, line.at(middle))
        return abs(middle_ms - (left_ms + (right_ms - left_ms) * share)), middle

    def _result(self, spec: LayerSpec) -> LayerProfile:
        steps = self._steps.get(spec)
        measured = self._measured[spec]
        if steps is None:
            return LayerProfile(spec, None, None, measured, int(self._table.knows(spec)))
        both = lines(spec, *steps)
        points = {spec, *grid_of(both)}
        points |= {line.at(count) for line in both for count in self._table.known_counts(line)}
        return LayerProfile(spec, *steps, measured, len(points))


@dataclass(frozen=True)
class _Interval:
    """Counts between two that were measured; those with the most to find come first."""

    weight_ms: float
    spec: LayerSpec
    line: Line
    left: int
    right: int

    def __lt__(self, other: _Interval) -> bool:
        return self.weight_ms > other.weight_ms

    @property
    def middle(self) -> int:
        """The count of the line nearest to the middle."""
        step = self.line.fine if self.right <= self.line.granule else self.line.granule
        return self.left + max(1, round((self.right - self.left) / 2 / step)) * step

    @property
    def divisible(self) -> bool:
        """Whether there is a count between its ends."""
        return self.left < self.middle < self.right

    def halves(self, middle: int, weight_ms: float) -> list[_Interval]:
        """Return the divisible halves."""
        pairs = ((self.left, middle), (middle, self.right))
        found = [_Interval(weight_ms, self.spec, self.line, *pair) for pair in pairs]
        return [interval for interval in found if interval.divisible]
