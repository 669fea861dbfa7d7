"""What a search looks at: candidate structures, how they are judged, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

WORST = -1e300
"""Reward and metric of a structure that has no number: below any that a metric gives, and finite, as in journals."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A structure that might be taken.

    Attributes:
        counts: Units that stay in each group, shape (groups,).
        source: Who proposed it: "global", "uniform", or an agent's name.
        preference: The action that led to it, shape (groups,); None where there was none.
    """

    counts: np.ndarray
    source: str
    preference: np.ndarray | None = None

    @property
    def key(self) -> bytes:
        """The structure's identity: what has been judged is not judged again."""
        return np.asarray(self.counts, dtype=np.int64).tobytes()


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one structure.

    Attributes:
        reward: What is maximised, in points; `WORST` where there is no number for it.
        metric: The task's metric, in percent; likewise.
        samples: Number of samples it was judged on.
        failure: Why the user's own metric gave no number.
    """

    reward: float
    metric: float
    samples: int
    failure: str | None = None

    @property
    def known(self) -> bool:
        """Whether there are numbers for it: outputs were finite, and the user's metric did not fail."""
        return self.reward > WORST and self.metric > WORST


@dataclass(frozen=True, eq=False)
class Judgement:
    """A candidate and what became of it.

    Attributes:
        index: Position among all that were judged.
        round: Round in which it was judged; 0 holds the plain allocations.
        candidate: The candidate.
        verdicts: Of each look taken at it.
        cost: What it costs of the budget, predicted.
        elapsed_s: Seconds since the search began.
    """

    index: int
    round: int
    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    cost: float
    elapsed_s: float

    @property
    def verdict(self) -> Verdict:
        """Of the last look."""
        return self.verdicts[-1]


class Judge(Protocol):
    """Prunes, heals and evaluates structures."""

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples of the successive looks, ascending; the last is all of them."""

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        """Evaluate the structure of these counts on the first `samples` evaluation samples."""

    def confirm(self, counts: np.ndarray) -> Verdict:
        """Evaluate it on all samples with everything that the final network gets before it is trained."""


def successive_halving(
    judge: Judge, candidates: Sequence[Candidate], best: Sequence[float] = ()
) -> list[tuple[Verdict, ...]]:
    """Judge candidates on few samples, and those that are worth it on more.

    After each look the better half goes on, and so does whatever is not yet worse than the best known.

    Args:
        judge: The judge.
        candidates: What to judge.
        best: Reward of the best known at each look; empty: none that others could be compared with.

    Returns:
        The verdicts on each, look by look, in the order of the candidates. (Jamieson and Talwalkar, arXiv 1502.07943.)
    """
    verdicts: list[list[Verdict]] = [[] for _ in candidates]
    alive = list(range(len(candidates)))
    for look, samples in enumerate(judge.looks):
        for position in alive:
            verdicts[position].append(judge.judge(candidates[position].counts, samples))
        limit = best[look] if best else np.inf
        alive.sort(key=lambda position: -verdicts[position][-1].reward)
        half = -(-len(alive) // 2)
        alive = [p for i, p in enumerate(alive) if i < half or verdicts[p][-1].reward >= limit]
    return [tuple(looks) for looks in verdicts]


def expected_rewards(judgements: Sequence[Judgement]) -> np.ndarray:
    """Say what rewards would be on all samples, shape (judgements,).

    The first samples may be easier or harder than all of them, by more than structures differ. So where the last looks
    were not taken, what they changed on average for those that got them is added.

    What has no number is expected as far below the lowest known reward as that is below the highest, a point at least:
    the critic takes it for worse, and still tells the others apart.
    """
    looks = max((len(judgement.verdicts) for judgement in judgements), default=0)
    whole = [j for j in judgements if len(j.verdicts) == looks and all(verdict.known for verdict in j.verdicts)]
    gains = [
        float(np.mean([j.verdicts[-1].reward - j.verdicts[look].reward for j in whole])) if whole else 0.0
        for look in range(looks)
    ]
    expected = np.array([j.verdict.reward + gains[len(j.verdicts) - 1] for j in judgements])
    known = np.array([j.verdict.known for j in judgements], dtype=bool)
    low, high = (expected[known].min(), expected[known].max()) if known.any() else (0.0, 0.0)
    return np.where(known, expected, low - max(high - low, 1.0))
