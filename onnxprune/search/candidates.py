"""What a search looks at: candidate structures, how they are judged, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


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
        reward: What is maximised, in points.
        metric: The task's metric, in percent.
        samples: Number of samples it was judged on.
    """

    reward: float
    metric: float
    samples: int


@dataclass(frozen=True, eq=False)
class Judgement:
    """A candidate and what became of it.

    Attributes:
        index: Position among all that were judged.
        round: Round in which it was judged; 0 holds the plain allocations.
        candidate: The candidate.
        verdict: Of the last look taken at it.
        cost: What it costs of the budget, predicted.
        elapsed_s: Seconds since the search began.
    """

    index: int
    round: int
    candidate: Candidate
    verdict: Verdict
    cost: float
    elapsed_s: float


class Judge(Protocol):
    """Prunes, heals and evaluates structures."""

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples of the successive looks, ascending; the last is all of them."""

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        """Evaluate the structure of these counts on the first `samples` evaluation samples."""

    def confirm(self, counts: np.ndarray) -> Verdict:
        """Evaluate it on all samples with everything that the final network gets before it is trained."""


def successive_halving(judge: Judge, candidates: Sequence[Candidate], best: float = np.inf) -> list[Verdict]:
    """Judge candidates on few samples, and those that are worth it on more.

    After each look the better half goes on, and so does whatever is not yet worse than the best known.

    Args:
        judge: The judge.
        candidates: What to judge.
        best: The best reward known; infinite: none that others could be compared with.

    Returns:
        The last verdict on each, in the order of the candidates. (Jamieson and Talwalkar, arXiv 1502.07943.)
    """
    verdicts: dict[int, Verdict] = {}
    alive = list(range(len(candidates)))
    for look, samples in enumerate(judge.looks):
        for position in alive:
            verdicts[position] = judge.judge(candidates[position].counts, samples)
        if look + 1 < len(judge.looks):
            alive.sort(key=lambda position: -verdicts[position].reward)
            half = -(-len(alive) // 2)
            alive = [p for i, p in enumerate(alive) if i < half or verdicts[p].reward >= best]
    return [verdicts[position] for position in range(len(candidates))]
