"""From an agent's search to a plan: the best structure whose measured cost meets the target."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.search.admissible import Problem
from onnxprune.search.agents import Agent, RandomAgent, RlAgent
from onnxprune.search.allocation import fill
from onnxprune.search.candidates import Candidate, Judge, Judgement, Verdict
from onnxprune.search.costs import ChannelShareCost, ShareCost
from onnxprune.search.environment import Environment
from onnxprune.search.loop import OnJudgement, SearchConfig, SearchOutcome, TimeUp, by_the_clock, search
from onnxprune.search.plan import (
    AgentName,
    Beginning,
    Evaluator,
    Plan,
    exact,
    exact_cost,
    find_plan,
    limit_of,
    make_plan,
    out_of_reach,
)
from onnxprune.search.reach import Probe
from onnxprune.search.sizes import full_counts
from onnxprune.search.target import Target

# Sessions differ by a per cent or two; a prediction is aimed that much below the target.
_MARGIN = 0.985
# The best structures are measured, and made smaller or larger in a few tries.
_FINALISTS, _TRIES = 6, 3
# Room that is not worth another try, and the shares of it that are tried in turn.
_CLOSE_ENOUGH = 0.965
_ROOM_SHARES = (1.0, 0.6, 1.0)

OnConfirmation = Callable[[int, int], None]


@dataclass(frozen=True)
class Task:
    """What an agent is to do.

    Attributes:
        problem: The network.
        target: What to reach.
        agent: Who searches.
        config: How long.
        seed: Seed of the agent.
        clock: Seconds, for a search that is limited by time.
        time_up: Says whether its time is up.
    """

    problem: Problem
    target: Target
    agent: AgentName
    config: SearchConfig
    seed: int
    clock: Callable[[], float] = time.monotonic
    time_up: TimeUp = by_the_clock


def learn_plan(
    task: Task,
    judge: Judge,
    *,
    evaluator: Evaluator | None = None,
    original_ms: float | None = None,
    beginning: Beginning | None = None,
    on_judgement: OnJudgement | None = None,
    on_probe: Callable[[Probe], None] | None = None,
    on_confirmation: OnConfirmation | None = None,
    known: SearchOutcome | None = None,
) -> tuple[Plan, SearchOutcome]:
    """Search for the structure that is worth the most among those that meet a target.

    Args:
        task: What to do.
        judge: Says what structures are worth.
        evaluator: Measures latencies; for latency targets.
        original_ms: Measured p50 of the unpruned network; for latency targets.
        beginning: What that is, where it is not the original as it is; for latency targets.
        on_judgement: Called after each judgement.
        on_probe: Called after each measurement of a latency.
        on_confirmation: Called before each finalist is healed to the end and judged, with its number and how many there
            are.
        known: What a search under a latency close to the target found; its finalists are fitted to the target, and
            nothing is searched again. None: search.

    Raises:
        TargetOutOfReachError: No structure meets it; the message says the lowest that can.
    """
    if task.target.kind != "latency":
        return _learn_exact(task, judge, on_judgement, on_confirmation)
    assert evaluator is not None
    assert original_ms is not None
    plain = find_plan(
        task.problem,
        task.target,
        "global",
        evaluator=evaluator,
        original_ms=original_ms,
        beginning=beginning,
        on_probe=on_probe,
    )
    cost, limit = task.problem.cost, task.target.resolve(original_ms)
    scale = plain.achieved / cost.total(plain.counts)
    environment = Environment(task.problem, cost, limit / scale * _MARGIN)
    outcome = known or _searched(task, environment, judge, on_judgement)
    finals = _Finals(environment, judge, evaluator, limit, on_probe)
    plans = [plain]
    for judgement in outcome.finalists(_FINALISTS):
        met = finals.meet(judgement)
        if met is not None:
            plans.append(make_plan(task.problem, met[1], met[2], original_ms, ()))
    best = finals.grown(_confirmed(judge, plans, on_confirmation))
    return replace(best, probes=(*plain.probes, *finals.probes)), outcome


def _searched(task: Task, environment: Environment, judge: Judge, on_judgement: OnJudgement | None) -> SearchOutcome:
    agent = make_agent(task, environment)
    return search(
        environment, agent, judge, task.config, on_judgement=on_judgement, clock=task.clock, time_up=task.time_up
    )


def _confirmed(judge: Judge, plans: Sequence[Plan], on_confirmation: OnConfirmation | None) -> Plan:
    """Return the plan that is worth the most once it is healed as the final network is."""
    distinct = list({plan.counts.tobytes(): plan for plan in plans}.values())
    if len(distinct) == 1:
        return distinct[0]
    rewards = []
    for number, plan in enumerate(distinct, start=1):
        if on_confirmation is not None:
            on_confirmation(number, len(distinct))
        rewards.append(judge.confirm(plan.counts).reward)
    return distinct[int(np.argmax(rewards))]


def make_agent(task: Task, environment: Environment) -> Agent:
    """Make the agent that a task names."""
    return RlAgent(environment, task.seed) if task.agent == "rl" else RandomAgent(environment, task.seed)


def _learn_exact(
    task: Task, judge: Judge, on_judgement: OnJudgement | None, on_confirmation: OnConfirmation | None
) -> tuple[Plan, SearchOutcome]:
    """Search under a budget that needs no measurement: MACs, parameters, bytes, channels."""
    problem, target = task.problem, task.target
    original = exact(problem, target, full_counts(problem.channels))
    limit = limit_of(target, original)
    overhead = problem.file_overhead_bytes if target.kind == "size" else 0
    budget = exact_cost(problem, target)
    if budget is None:
        budget = ChannelShareCost(problem.channels)
        problem = replace(problem, cost=ShareCost(full_counts(problem.channels)))
    environment = Environment(problem, budget, limit - overhead)
    outcome = _searched(task, environment, judge, on_judgement)
    if not outcome.judgements:
        raise out_of_reach(target, limit, exact(problem, target, problem.admissible.smallest), original)
    finalists = [judgement.candidate.counts for judgement in outcome.finalists(_FINALISTS)]
    plans = [make_plan(task.problem, counts, exact(problem, target, counts), original, ()) for counts in finalists]
    return _confirmed(judge, plans, on_confirmation), outcome


class _Finals:
    """Measures the best structures, and makes those that are too slow smaller."""

    def __init__(
        self,
        environment: Environment,
        judge: Judge,
        evaluator: Evaluator,
        limit_ms: float,
        on_probe: Callable[[Probe], None] | None,
    ) -> None:
        self.probes: list[Probe] = []
        self._environment = environment
        self._judge = judge
        self._evaluator = evaluator
        self._limit_ms = limit_ms
        self._on_probe = on_probe or (lambda _: None)

    def meet(self, judgement: Judgement) -> tuple[Verdict, np.ndarray, float] | None:
        """Return the verdict, the counts and the measured ms of a structure that was made to fit the target.

        One that is too slow is made smaller; one that leaves room is made larger, and taken if it is better for it.
        """
        candidate, verdict = judgement.candidate, judgement.verdict
        environment, met = self._environment, None
        for left in reversed(range(_TRIES)):
            measured = self._measure(candidate.counts)
            if measured <= self._limit_ms:
                if met is None or verdict.reward > met[0].reward:
                    met = verdict, candidate.counts, measured
                if measured >= _CLOSE_ENOUGH * self._limit_ms:
                    break
            # What is not measured need not be judged.
            if left == 0:
                break
            limit = environment.cost(candidate.counts) * self._limit_ms / measured * _MARGIN
            environment = replace(environment, limit=limit)
            other = _again(environment, candidate)
            if other is None or np.array_equal(other, candidate.counts):
                break
            candidate = replace(candidate, counts=other)
            verdict = self._judge.judge(other, self._judge.looks[-1])
        return met

    def grown(self, plan: Plan) -> Plan:
        """Give channels back to a plan that leaves room: what holds more of the same is worth no less."""
        environment, problem = self._environment, self._environment.problem
        for share in _ROOM_SHARES:
            if plan.achieved >= _CLOSE_ENOUGH * self._limit_ms:
                break
            room = 1 + share * (self._limit_ms / plan.achieved * _MARGIN - 1)
            counts = fill(problem, plan.counts, environment.budget, environment.cost(plan.counts) * room)
            if np.array_equal(counts, plan.counts):
                continue
            measured = self._measure(counts)
            if measured <= self._limit_ms:
                plan = make_plan(problem, counts, measured, plan.original, ())
        return plan

    def _measure(self, counts: np.ndarray) -> float:
        problem = self._environment.problem
        plan = make_plan(problem, counts, 0.0, 0.0, ())
        measured = self._evaluator.latency_ms(plan.keep)
        predicted = self._environment.cost(counts)
        self.probes.append(Probe(len(self.probes), predicted, measured, problem.paper.macs_of(counts)))
        self._on_probe(self.probes[-1])
        return measured


def _again(environment: Environment, candidate: Candidate) -> np.ndarray | None:
    """Take the candidate's action under another budget."""
    return environment.uniform() if candidate.preference is None else environment.act(candidate.preference)
