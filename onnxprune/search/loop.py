"""The search: an agent proposes, the judge answers, until the budget is spent or nothing is learned any more."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from onnxprune.errors import TargetError
from onnxprune.search.agents import Agent, plain_candidates
from onnxprune.search.candidates import Candidate, Judge, Judgement, Verdict, successive_halving
from onnxprune.search.environment import Environment

_BUDGET = re.compile(r"(\d+\.?\d*|\.\d+)\s*(s|m|min|h)?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NO_LIMIT = 1_000_000

OnJudgement = Callable[[Judgement], None]
TimeUp = Callable[[int, bool], bool]
"""Whether to stop: given how many structures were judged, and whether the clock says that the time is up."""


def by_the_clock(judged: int, up: bool) -> bool:  # noqa: ARG001
    """Stop when the clock says so."""
    return up


@dataclass(frozen=True)
class SearchConfig:
    """How long to search.

    Attributes:
        evaluations: Structures to judge, at most; of a run in stages, in each.
        seconds: Time to search, at most, of all stages; None: no limit.
        per_round: Structures proposed in a round.
        patience: Rounds without a better structure after which the search ends.
    """

    evaluations: int = 160
    seconds: float | None = None
    per_round: int = 12
    patience: int = 5

    @property
    def text(self) -> str | int:
        """How `search_budget` reads it."""
        return self.evaluations if self.seconds is None else f"{self.seconds:.12g}s"

    def divided(self, stages: int) -> SearchConfig:
        """Return how long each of several stages searches: a time is divided, a number of structures is each one's."""
        return self if self.seconds is None else replace(self, seconds=self.seconds / stages)


def search_budget(text: str | int) -> SearchConfig:
    """Read how long to search: `200` structures, or a time such as `90s`, `10m` or `1h`.

    Raises:
        TargetError: It cannot be read, or is not above 0.
    """
    match = _BUDGET.fullmatch(str(text).strip())
    amount = float(match[1]) if match else 0.0
    # Hundreds of digits are infinity, as a number or in seconds.
    if match is None or not 0 < amount * _SECONDS["h"] < math.inf or (match[2] is None and amount != int(amount)):
        raise TargetError(
            f"search budget '{text}' cannot be read; write a number of structures, such as '200', or a time, such "
            "as '90s', '10m' or '1h'"
        )
    if match[2] is None:
        return SearchConfig(evaluations=int(amount))
    return SearchConfig(evaluations=_NO_LIMIT, seconds=amount * _SECONDS[match[2].lower()])


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found.

    Attributes:
        judgements: Everything that was judged, in order.
        stopped_by: "evaluations", "time", "patience", or "exhausted" where there was nothing new to propose.
    """

    judgements: tuple[Judgement, ...]
    stopped_by: str

    @property
    def ranking(self) -> list[Judgement]:
        """Judgements from the best downward: those seen on all samples first."""
        return sorted(self.judgements, key=lambda j: (-j.verdict.samples, -j.verdict.reward, j.index))

    def finalists(self, count: int) -> list[Judgement]:
        """Return the best of those judged on all samples, and the plain allocations, from the best downward.

        What there is no number for is left out, unless there is none for any.
        """
        ranking = self.ranking
        whole = [j for j in ranking if j.verdict.samples == ranking[0].verdict.samples]
        known = [j for j in whole if j.verdict.known] or whole
        return [j for place, j in enumerate(known) if place < count or j.round == 0]

    @property
    def best(self) -> Judgement:
        """The best of those judged on all samples."""
        return self.ranking[0]


def search(
    environment: Environment,
    agent: Agent | None,
    judge: Judge,
    config: SearchConfig = SearchConfig(),
    *,
    on_judgement: OnJudgement | None = None,
    clock: Callable[[], float] = time.monotonic,
    time_up: TimeUp = by_the_clock,
) -> SearchOutcome:
    """Look for the structure within the budget that is worth the most.

    The plain allocations are judged first, at every look, so the outcome is never worse than they are.

    Args:
        environment: The task.
        agent: Who proposes; None: the plain allocations only.
        judge: Who answers.
        config: How long to search.
        on_judgement: Called after each judgement.
        clock: Seconds.
        time_up: Asked before every round where time is limited: a search that is repeated ends where it ended.

    Returns:
        Everything judged; empty where no structure is within the budget.
    """
    run = _Search(environment, judge, on_judgement or (lambda _: None), clock)
    plain = plain_candidates(environment)
    run.record(plain, [tuple(judge.judge(c.counts, samples) for samples in judge.looks) for c in plain])
    if agent is None or not plain:
        return SearchOutcome(tuple(run.judgements), "exhausted")
    still = 0
    while still < config.patience:
        agent.learn(run.judgements)
        room = config.evaluations - len(run.judgements)
        if room <= 0:
            return SearchOutcome(tuple(run.judgements), "evaluations")
        if config.seconds is not None and time_up(len(run.judgements), run.elapsed() >= config.seconds):
            return SearchOutcome(tuple(run.judgements), "time")
        proposed = agent.propose(min(config.per_round, room), run.seen)
        if not proposed:
            return SearchOutcome(tuple(run.judgements), "exhausted")
        before = run.best
        run.round += 1
        run.record(proposed, successive_halving(judge, proposed, before))
        still = 0 if run.best[-1] > before[-1] else still + 1
    return SearchOutcome(tuple(run.judgements), "patience")


class _Search:
    """What has been judged so far."""

    def __init__(
        self, environment: Environment, judge: Judge, on_judgement: OnJudgement, clock: Callable[[], float]
    ) -> None:
        self.judgements: list[Judgement] = []
        self.seen: set[bytes] = set()
        self.round = 0
        self.best: tuple[float, ...] = ()
        self._environment = environment
        self._samples = judge.looks[-1]
        self._on_judgement = on_judgement
        self._clock, self._started = clock, clock()

    def elapsed(self) -> float:
        """Return the seconds since the search began."""
        return self._clock() - self._started

    def record(self, candidates: list[Candidate], verdicts: list[tuple[Verdict, ...]]) -> None:
        """Keep what was judged."""
        for candidate, looks in zip(candidates, verdicts, strict=True):
            self.seen.add(candidate.key)
            rewards = tuple(verdict.reward for verdict in looks)
            if looks[-1].samples == self._samples and (not self.best or rewards[-1] > self.best[-1]):
                self.best = rewards
            cost = self._environment.cost(candidate.counts)
            judgement = Judgement(len(self.judgements), self.round, candidate, looks, cost, self.elapsed())
            self.judgements.append(judgement)
            self._on_judgement(judgement)
