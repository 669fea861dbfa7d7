"""What a search may take from any one group at most."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.errors import TargetError
from onnxprune.search.admissible import Problem

# Shares are typed in decimals: of 10 units 0.7 leaves 3, although 10 * (1 - 0.7) is a little above.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Limits:
    """Limits on every group; with either of them no branch goes whole. Validates itself.

    Attributes:
        max_ratio: Share of a group's units that may go at most, above 0 and below 1; None: no limit.
        min_channels: Channels of a group's producer that always stay, from 1; None: no limit.

    Raises:
        TargetError: A figure is outside of that.
    """

    max_ratio: float | None = None
    min_channels: int | None = None

    def __post_init__(self) -> None:
        if self.max_ratio is not None and not 0 < self.max_ratio < 1:
            raise TargetError(f"max ratio {self.max_ratio:g} must be above 0 and below 1: 0.5 lets at most half go")
        if self.min_channels is not None and self.min_channels < 1:
            raise TargetError(f"min channels must be 1 or more, not {self.min_channels}")

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.max_ratio is not None or self.min_channels is not None

    @property
    def text(self) -> str:
        """The options that limit."""
        given = {"--max-ratio": self.max_ratio, "--min-channels": self.min_channels}
        return " and ".join(f"{option} {figure:g}" for option, figure in given.items() if figure is not None)

    def least(self, channels: ChannelMap) -> np.ndarray:
        """Return how many units of each group stay at least, shape (groups,)."""
        sizes = np.array([group.size for group in channels.groups], dtype=np.int64)
        least = np.ones(len(sizes), dtype=np.int64)
        if self.max_ratio is not None:
            least = np.maximum(least, np.ceil(sizes * (1 - self.max_ratio) - _ROUNDING).astype(np.int64))
        if self.min_channels is not None:
            per_unit = np.array([group.channels_per_unit for group in channels.groups], dtype=np.int64)
            least = np.maximum(least, -(-self.min_channels // per_unit))
        return np.minimum(least, sizes)

    def on(self, problem: Problem) -> Problem:
        """Return a problem with these limits."""
        if not self.any:
            return problem
        return replace(problem, admissible=problem.admissible.at_least(self.least(problem.channels)))
