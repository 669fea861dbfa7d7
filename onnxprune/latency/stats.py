"""What a set of latency samples says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 500
BUSY_SPREAD = 0.15
"""Above this spread other work, or heat, decides the figures; see `summarise`."""


@dataclass(frozen=True)
class LatencyStats:
    """Latency of one model over several sessions.

    Attributes:
        samples_ms: Every timed run, by session.
        p50_ms: Median of the sessions' medians; see `summarise` for why.
        p90_ms: 90th percentile of all runs.
        p99_ms: 99th percentile of all runs.
        mean_ms: Mean of all runs.
        spread: Slowest minus fastest session median, as a fraction of p50.
        ci95_ms: 95 % confidence interval of p50, (low, high).
        load_ms: What loading the model took in each session; empty where it was not measured.
        copies_ms: Copies of the inputs to the provider's memory and of the outputs back, where they are not part of a
            run; else None.
    """

    samples_ms: tuple[tuple[float, ...], ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    spread: float
    ci95_ms: tuple[float, float]
    load_ms: tuple[float, ...] = ()
    copies_ms: tuple[float, float] | None = None

    @property
    def min_ms(self) -> float:
        """Fastest run: what is left of a latency on a machine that is busy with other work."""
        return min(min(samples) for samples in self.samples_ms)

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return len(self.samples_ms)

    @property
    def runs(self) -> int:
        """Number of timed runs over all sessions."""
        return sum(len(samples) for samples in self.samples_ms)

    def to_dict(self) -> dict[str, object]:
        """Return the figures and samples for JSON, in milliseconds to the tenth of a microsecond."""
        return {
            "p50_ms": round(self.p50_ms, 4),
            "p90_ms": round(self.p90_ms, 4),
            "p99_ms": round(self.p99_ms, 4),
            "mean_ms": round(self.mean_ms, 4),
            "spread": round(self.spread, 4),
            "ci95_ms": [round(bound, 4) for bound in self.ci95_ms],
            "sessions": self.sessions,
            "runs": self.runs,
            "samples_ms": [[round(value, 4) for value in samples] for samples in self.samples_ms],
        }


def summarise(samples_ms: Sequence[Sequence[float]], seed: int = 0) -> LatencyStats:
    """Reduce samples to figures.

    p50 is the median of the sessions' medians: a whole session can be off (where its memory lands, what
    else the machine does), so a session counts once, however many runs it had, and a minority of bad ones
    changes nothing. Over ten repeats the ratio of two networks' p50 varied by 1.4 % (standard deviation), by
    1.6 % with the median of all runs and by 2.0 % with the fastest session. With more processes than cores
    nothing but the fastest run stays near (5 % against 20 %); a spread above 15 % tells of that.

    The confidence interval is a percentile bootstrap over two levels, sessions and the runs within each (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 3.8): runs of one session share what befell it, so
    that a bootstrap of runs alone would be too sure.

    Args:
        samples_ms: Runs by session; at least one session, none of them empty.
        seed: Seed of the bootstrap.

    Returns:
        The figures, in milliseconds.

    Raises:
        ValueError: There are no samples.
    """
    sessions = [np.asarray(samples, dtype=np.float64) for samples in samples_ms]
    if not sessions or any(samples.size == 0 for samples in sessions):
        raise ValueError("every session needs at least one sample")
    medians = np.array([np.median(samples) for samples in sessions])
    every = np.concatenate(sessions)
    p50 = float(np.median(medians))
    return LatencyStats(
        samples_ms=tuple(tuple(samples.tolist()) for samples in sessions),
        p50_ms=p50,
        p90_ms=float(np.percentile(every, 90)),
        p99_ms=float(np.percentile(every, 99)),
        mean_ms=float(every.mean()),
        spread=float((medians.max() - medians.min()) / p50) if p50 > 0 else 0.0,
        ci95_ms=_bootstrap(sessions, np.random.default_rng(seed)),
    )


def _bootstrap(sessions: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[float, float]:
    """Resample sessions, and runs within each, with replacement: runs of one session are not independent."""
    # (resamples, runs) per session -> medians (sessions, resamples)
    medians = np.stack(
        [
            np.median(samples[rng.integers(samples.size, size=(_RESAMPLES, samples.size))], axis=1)
            for samples in sessions
        ]
    )
    chosen = rng.integers(len(sessions), size=(_RESAMPLES, len(sessions)))
    which = rng.integers(_RESAMPLES, size=chosen.shape)
    low, high = np.percentile(np.median(medians[chosen, which], axis=1), [2.5, 97.5])
    return float(low), float(high)
