"""A structure close to its target loses or regains channels, until the long measurement finds it just below.

The plan aims by short measurements and a model of the latency; both are off by a few per cent, more where latency moves
in coarse steps. Here every step is one of one group, and each is judged by the measurement that has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxprune.search import Plan, Probe, Problem, global_path, growth, make_plan

Measure = Callable[[Plan], float]
"""Measures a structure at length: its latency as a share of what is allowed."""

LEAST, AIM, MOST = 0.96, 0.98, 0.995
"""Shares of the target that the long measurement should find. Measured again, a structure is off by about a per cent:
within these it stays within the 5 % below the target."""

# Steps that by prediction take this many times the room are not tried; predictions of small steps are that wrong.
_REACH = 2.0
# How far down a structure that is too slow is followed, as a share of what would do by prediction.
_DEPTH = 0.9
_MEASUREMENTS = 12


@dataclass
class Fitting:
    """Fits one structure to the target.

    Attributes:
        problem: What is decided about; its cost predicts latency.
        measure: Measures a structure.
        halves: Whether counts half-way between the admissible ones may be taken, where those are too far apart.
    """

    problem: Problem
    measure: Measure
    halves: bool = True
    probes: list[Probe] = field(default_factory=list)
    """Structures measured, in order; the latency as a share of the target."""
    _reach: float = _REACH
    _closed: set[int] = field(default_factory=set)

    def run(self, plan: Plan, share: float) -> None:
        """Measure structures until one is close enough below the target; the caller sees each in `measure`.

        Args:
            plan: A structure.
            share: Its latency as a share of the target.
        """
        counts, share = self._down(plan, share)
        while counts is not None and share < LEAST and self._left:
            path = self._way_up(counts, share)
            if len(path) > 1:
                counts, share = self._bisect(path, {0: share}, plan.original)
            elif self.halves:
                self._let_in_halves(counts)
            else:
                return

    @property
    def _left(self) -> int:
        return _MEASUREMENTS - len(self.probes)

    def _down(self, plan: Plan, share: float) -> tuple[np.ndarray | None, float]:
        """Return a structure below the target; None where the measurements, or the channels, end before it."""
        counts = plan.counts
        while share > MOST:
            path = self._way_down(counts, share)
            shares = {len(path) - 1: share}
            found, share_found = self._bisect(path, shares, plan.original)
            if found is not None:
                return found, share_found
            if len(path) == 1 or not self._left:
                return None, share
            # The first measurement may have been the lucky one, or the prediction far off.
            counts, share = path[0], shares[0]
        return counts, share

    def _let_in_halves(self, counts: np.ndarray) -> None:
        self.halves = False
        self.problem = replace(self.problem, admissible=self.problem.admissible.with_halves(counts))
        # The model takes what lies between two blocks for as slow as the whole step.
        self._reach *= 2
        self._closed = set()

    def _way_down(self, counts: np.ndarray, share: float) -> list[np.ndarray]:
        """Take back what matters least for its cost; the smallest structure first."""
        cost = self.problem.cost
        path = global_path(replace(self.problem, admissible=self.problem.admissible.at_most(counts)))
        limit = cost.total(counts) * _DEPTH * AIM / share
        last = next((index for index, smaller in enumerate(path) if cost.total(smaller) <= limit), len(path) - 1)
        return path[last::-1]

    def _way_up(self, counts: np.ndarray, share: float) -> list[np.ndarray]:
        """Give back what matters most for its cost; the structure itself first."""
        cost = self.problem.cost
        limit = cost.total(counts) * (1 + self._reach * (1 / share - 1))
        return growth(self.problem, counts, cost, limit, closed=self._closed)

    def _bisect(
        self, path: Sequence[np.ndarray], shares: dict[int, float], original: float
    ) -> tuple[np.ndarray | None, float]:
        """Find the last structure of a rising path that meets the target; the step beyond it is closed then."""
        predicted = [self.problem.cost.total(counts) for counts in path]
        while True:
            low = max((index for index, share in shares.items() if share <= MOST), default=-1)
            high = min((index for index, share in shares.items() if share > MOST), default=len(path))
            share = max((share for share in shares.values() if share <= MOST), default=0.0)
            if share >= LEAST or high - low <= 1 or not self._left:
                break
            index = _guess(predicted, shares, low, high)
            plan = make_plan(self.problem, path[index], 0.0, original, ())
            shares[index] = self.measure(plan)
            macs = self.problem.paper.macs_of(plan.counts)
            self.probes.append(Probe(len(self.probes), predicted[index], shares[index], macs))
        if 0 < high < len(path):
            self._closed |= set(np.flatnonzero(path[high] != path[high - 1]).tolist())
        return (path[low] if low >= 0 else None), share


def _guess(predicted: Sequence[float], shares: dict[int, float], low: int, high: int) -> int:
    """Return the structure between two that is the closest to the aim, by the prediction as far as it was right."""
    known = low if low >= 0 else high
    slope = shares[known] / predicted[known]
    if low >= 0 and high < len(predicted) and predicted[high] > predicted[low]:
        slope = (shares[high] - shares[low]) / (predicted[high] - predicted[low])
    aim = predicted[known] + (AIM - shares[known]) / slope
    return min(range(low + 1, high), key=lambda index: abs(predicted[index] - aim))
