"""How much faster one model is than another that was measured beside it, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000


def p50_ratio(
    first_ms: Sequence[Sequence[float]], second_ms: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, float, float]:
    """Return second / first: the ratio of p50, and its 95 % confidence interval.

    Sessions are resampled in pairs, since the n-th sessions of interleaved models met the same disturbances, and the
    runs within each.

    Args:
        first_ms: Runs of the first model by session.
        second_ms: Runs of the second model, by the same sessions.
        seed: Seed of the bootstrap.

    Returns:
        Ratio, low, high.
    """
    rng = np.random.default_rng(seed)
    first, second = ([np.asarray(session) for session in runs] for runs in (first_ms, second_ms))
    # (sessions, resamples)
    medians = [np.stack([_medians(session, rng) for session in runs]) for runs in (first, second)]
    pairs = rng.integers(min(len(first), len(second)), size=(_RESAMPLES, min(len(first), len(second))))
    which = rng.integers(_RESAMPLES, size=pairs.shape)
    drawn = [np.median(m[pairs, which], axis=1) for m in medians]
    low, high = np.percentile(drawn[1] / drawn[0], [2.5, 97.5])
    whole = [float(np.median([np.median(session) for session in runs])) for runs in (first, second)]
    return whole[1] / whole[0], float(low), float(high)


def _medians(session: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(np.median(session[rng.integers(session.size, size=(_RESAMPLES, session.size))], axis=1))
