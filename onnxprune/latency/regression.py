"""Whether a model became slower than is allowed since a baseline was measured: a test, not a threshold.

Sessions are what repeats: runs of one session share where its memory landed and what else the machine did, so a session
counts once, by its p50. The test is the one of Mann and Whitney (1947) on the sessions' p50, the baseline's scaled by
what is allowed; the ratio is that of Hodges and Lehmann (1963), the median of the ratios of every session now to every
one then, and its confidence interval is the one that goes with the test (Hollander, Wolfe and Chicken, Nonparametric
Statistical Methods, 3rd edition, 2014, section 4.3). So the interval lies above the limit where the test rejects.

Why this one: it is exact for as few as four sessions on each side, assumes no distribution, and a session that is off
as a whole (some are) moves it by one rank at most. Welch's t-test follows such a session with the mean and loses its
power to it; a bootstrap of five sessions gives intervals that are too short. Sessions are not paired, since the
baseline was measured at another time; what changed between the two times and is no noise within either (heat, an update
of the system) no test can tell from a slower model, which is what the allowed share is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxprune.errors import DeviceError

# Of a two-sided interval of 95 %, what may lie on each side.
_TAIL = 0.025
# Up to so many pairs the distribution is counted out.
_EXACT = 2500

Verdict = Literal["regression", "no regression", "undecided"]


@dataclass(frozen=True)
class Regression:
    """A model's latency over a baseline's.

    Attributes:
        ratio: p50 now over p50 then.
        low: Lower end of the ratio's 95 % confidence interval.
        high: Its upper end.
        p_value: Probability of sessions at least as slow if the model had become slower just as much as is allowed.
        verdict: "regression": the interval lies above what is allowed; "no regression": below; else "undecided".
    """

    ratio: float
    low: float
    high: float
    p_value: float
    verdict: Verdict


def regression(then_ms: Sequence[Sequence[float]], now_ms: Sequence[Sequence[float]], allowed: float) -> Regression:
    """Compare a model with a baseline that was measured at another time.

    Args:
        then_ms: Runs of the baseline by session.
        now_ms: Runs of the model by session.
        allowed: Share by which it may have become slower, such as 0.05.

    Raises:
        DeviceError: There are too few sessions for any difference to be significant.
    """
    check_sessions(len(then_ms), len(now_ms))
    then, now = (np.array([np.median(session) for session in runs]) for runs in (then_ms, now_ms))
    at_most = _at_most(len(then), len(now))
    # Ratios that may be left out on each side.
    outside = int(np.searchsorted(at_most, _TAIL, side="right"))
    ratios = np.sort((now[:, None] / then[None, :]).ravel())
    low, high = float(ratios[outside - 1]), float(ratios[len(ratios) - outside])
    limit = 1 + allowed
    not_above = int((ratios <= limit).sum())
    verdict: Verdict = "regression" if low > limit else "no regression" if high <= limit else "undecided"
    return Regression(float(np.median(ratios)), low, high, float(at_most[not_above]), verdict)


def check_sessions(then: int, now: int) -> None:
    """Refuse numbers of sessions with which no difference could be significant.

    Raises:
        DeviceError: Says how many are needed.
    """
    if _extreme(then, now) > _TAIL:
        raise DeviceError(
            f"{now} sessions, and {then} of the baseline, are too few to tell a difference from noise; measure both "
            f"with --sessions {_enough()} or more"
        )


def _enough() -> int:
    """Return the fewest sessions that suffice on both sides."""
    return next(count for count in range(1, 99) if _extreme(count, count) <= _TAIL)


def _extreme(first: int, second: int) -> float:
    """Return the probability that one side wins all pairs, if both are alike."""
    return 1 / math.comb(first + second, first)


def _at_most(first: int, second: int) -> np.ndarray:
    """Return the probabilities that at most u of all pairs are won by the first side, if both are alike.

    The numbers of ways to win u pairs are the coefficients of the Gaussian binomial of first + second over first. Of
    many pairs u is all but normal, with mean nm / 2 and variance nm (n + m + 1) / 12 (Mann and Whitney, 1947).
    """
    size = first * second + 1
    if size > _EXACT:
        deviation = math.sqrt(first * second * (first + second + 1) / 12)
        return np.array(
            [0.5 * math.erfc((first * second / 2 - u - 0.5) / (deviation * math.sqrt(2))) for u in range(size)]
        )
    ways = [1] + [0] * (size - 1)
    for step in range(1, second + 1):
        for u in range(size - 1, first + step - 1, -1):
            ways[u] -= ways[u - first - step]
        for u in range(step, size):
            ways[u] += ways[u - step]
    total = sum(ways)
    return np.cumsum([count / total for count in ways])
