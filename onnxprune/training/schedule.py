"""How far training is, and the learning rate that goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Schedule:
    """Warm-up, then a cosine to zero, over a number of steps or a time, whichever ends first.

    Progress is the larger of the share of the steps and the share of the time, so the cosine is complete when
    the time is up, however long a step takes.

    Attributes:
        steps: Steps of the whole training.
        peak: Learning rate after the warm-up.
        warmup: Share of the training in which it rises.
        clock: Seconds, as `time.monotonic`.
        begun_s: When what the budget includes began, on that clock: the original's outputs come before training.
        start_s: When training began, on that clock.
        deadline_s: When it must end; None: no limit.
        done: Steps made.
        factor: On the learning rate; lowered after a loss that was not finite.
    """

    steps: int
    peak: float
    warmup: float
    clock: Callable[[], float]
    begun_s: float
    start_s: float
    deadline_s: float | None = None
    done: int = 0
    factor: float = 1.0

    def progress(self) -> float:
        """Return the share of the training that is done, 0 to 1."""
        return min(1.0, max(self.done / self.steps, self._time_share()))

    def learning_rate(self) -> float:
        """Return the learning rate of the next step."""
        progress = max(self.progress(), 0.5 / self.steps)
        if progress < self.warmup:
            return self.factor * self.peak * progress / self.warmup
        share = (progress - self.warmup) / (1 - self.warmup)
        return self.factor * self.peak * 0.5 * (1 + math.cos(math.pi * share))

    def spent_s(self) -> float:
        """Return the seconds that count toward a time budget so far."""
        return self.clock() - self.begun_s

    def _time_share(self) -> float:
        if self.deadline_s is None:
            return 0.0
        length = self.deadline_s - self.start_s
        return 1.0 if length <= 0 else (self.clock() - self.start_s) / length
