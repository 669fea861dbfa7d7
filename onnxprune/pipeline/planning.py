"""The structure for a target: a plain allocation's, or the best that an agent's search finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.pipeline.measuring import Bench, LatencyEvaluator
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.search_progress import SearchProgress
from onnxprune.progress import Observer
from onnxprune.search import (
    AGENTS,
    ALLOCATIONS,
    AgentName,
    AllocationName,
    Beginning,
    Judge,
    Judgement,
    OnJudgement,
    Plan,
    Problem,
    SearchConfig,
    SearchOutcome,
    Subject,
    Target,
    Task,
    TimeUp,
    by_the_clock,
    exact,
    find_plan,
    full_counts,
    keep_mask,
    latency_problem,
    learn_plan,
    make_plan,
    network_key,
    original_cost,
    paper_problem,
)

# A short measurement is no reason to refuse a target that it misses by less than this.
_DOUBT, _LOOKS = 1.05, 2


@dataclass(frozen=True)
class Choice:
    """What the user chose.

    Attributes:
        target: What to reach.
        allocation: How the pruning is spread over the groups: a plain allocation, or the agent that learns it.
        round_to: A fixed block of channels; None: what the measured layers ask for.
        seed: Seed of the agent and of the verification's inputs.
        search: How long an agent searches.
        counts: How many units each group keeps, shape (groups,), where that is known; nothing is searched then.
        known_by: What says so.
        strict: Whether a latency that no long measurement confirms is refused; else what was planned is taken.
    """

    target: Target
    allocation: AllocationName | AgentName
    round_to: int | None
    seed: int
    search: SearchConfig = field(default_factory=SearchConfig)
    counts: np.ndarray | None = None
    known_by: str = "ratios"
    strict: bool = True

    @property
    def searches(self) -> bool:
        """Whether an agent looks for the structure among ones that it judges."""
        return self.counts is None and self.allocation in {"rl", "random"}

    @property
    def source(self) -> str:
        """Who says how the pruning is spread."""
        return self.allocation if self.counts is None else self.known_by


def make_problem(network: Network, scores: np.ndarray, choice: Choice, bench: Bench, original_ms: float) -> Problem:
    """Measure what channel counts cost, layer by layer, unless the user fixed the block."""
    subject = Subject(network.model, network.channels, network.shapes, scores, bench.number_format)
    # What a seed gives under a limit of MACs is not to change with the latency of the day.
    measured_ms = original_ms if choice.target.kind == "latency" else None
    if choice.round_to is not None or choice.counts is not None:
        return paper_problem(subject, choice.round_to or 1, measured_ms)
    bench.observer.stage("measuring layers")

    def on_layer(done: int, total: int) -> None:
        bench.observer.advance(note=f"{done}/{total} layers")

    return latency_problem(subject, bench.costs, measured_ms, on_layer=on_layer)


def left_as_it_is(choice: Choice, channels: ChannelMap, cost: float, limit: float) -> Choice | None:
    """Return the choice that removes nothing, where a model meets its target as it is; None where it does not.

    Latencies near the limit are left to those who measure them at length, but for rl-pruner, which removes before it
    looks at the target.

    Args:
        choice: What the user chose.
        channels: The model's analysis.
        cost: What the model costs.
        limit: What it may.
    """
    doubted = choice.target.kind == "latency" and choice.source != "rl-pruner"
    if choice.counts is not None or cost > limit / (_DOUBT if doubted else 1.0):
        return None
    return replace(choice, counts=full_counts(channels), known_by=choice.source)


def kept_structures(network: Network, bench: Bench) -> list[tuple[tuple[int, ...], float]]:
    """Return the structures of a network that a profile measured on this device; see `LayerCosts.structures`.

    Profiles measure networks as they are: of one that will be delivered in another format, none are known.
    """
    if bench.number_format is not None:
        return []
    key = network_key(network.model, network.channels, network.shapes)
    return bench.costs.structures(key)


def is_missed(target: Target, share: float) -> bool:
    """Say whether a cost, as a share of what the target allows, is above it by more than it may be off."""
    return share > (_DOUBT if target.kind == "latency" else 1.0)


def smallest_cost(problem: Problem, target: Target, evaluator: LatencyEvaluator, observer: Observer) -> float:
    """Return the cost of the smallest structure: measured where latency is limited."""
    least = problem.admissible.smallest
    if target.kind != "latency":
        return exact(problem, target, least)
    observer.stage("measuring the smallest structure")
    keep = keep_mask(problem.channels, problem.scores, least)
    # What disturbs a measurement must not make a target look out of reach.
    return min(evaluator.latency_ms(keep) for _ in range(_LOOKS))


def beginning_of(choice: Choice, bench: Bench, original_ms: float, stage: int = 1) -> Beginning | None:
    """Say what a stage begins with, for messages about latency; None where it is the original as it is."""
    how = [] if bench.number_format is None else [f"in {bench.number_format}"]
    how += [] if stage == 1 else [f"after stage {stage - 1}"]
    return Beginning(" ".join(how), original_ms) if how and choice.target.kind == "latency" else None


class Planner:
    """Finds the structure for a target by a plain allocation, or by an agent's search."""

    def __init__(
        self,
        problem: Problem,
        choice: Choice,
        evaluator: LatencyEvaluator,
        judge: Judge | None = None,
        *,
        start_ms: float | None = None,
        beginning: Beginning | None = None,
        on_judgement: OnJudgement | None = None,
        clock: Callable[[], float] = time.monotonic,
        time_up: TimeUp = by_the_clock,
    ) -> None:
        """Prepare to plan.

        Args:
            problem: What is decided about.
            choice: What the user chose.
            evaluator: Measures candidates beside the original.
            judge: The judge of candidates, for an agent.
            start_ms: Latency of the largest structure of the problem; None: it is the original.
            beginning: What that is, where it is not the original as it is.
            on_judgement: Called after each judgement.
            clock: Seconds, for a search that is limited by time.
            time_up: Says whether its time is up.
        """
        self.original_ms = evaluator.original_ms
        self.outcome: SearchOutcome | None = None
        self.problem = problem
        self._choice = choice
        self._observer = evaluator.observer
        self._evaluator = evaluator
        self._judge = judge
        self._start_ms = self.original_ms if start_ms is None else start_ms
        self._beginning = beginning
        self._on_judgement = on_judgement or (lambda _: None)
        self._clock, self._time_up = clock, time_up

    def plan(self, target: Target) -> Plan:
        """Find the structure for a target."""
        if self._choice.counts is not None:
            return self._given(target, self._choice.counts)
        self._observer.stage("finding the structure")
        for name in ALLOCATIONS:
            if name == self._choice.allocation:
                return find_plan(
                    self.problem,
                    target,
                    name,
                    evaluator=self._evaluator,
                    original_ms=self._start_ms,
                    beginning=self._beginning,
                    on_probe=lambda probe: self._observer.advance(0, note=f"{probe.measured:.3g} ms"),
                    any_count=self._choice.round_to is None,
                )
        return self._learn(target)

    def _given(self, target: Target, counts: np.ndarray) -> Plan:
        problem = self.problem
        return make_plan(problem, counts, exact(problem, target, counts), original_cost(problem, target), ())

    def _learn(self, target: Target) -> Plan:
        choice = self._choice
        assert choice.allocation in AGENTS
        assert self._judge is not None
        progress = SearchProgress(
            self._observer, choice.allocation, choice.search, target, again=self.outcome is not None
        )

        def on_judgement(judgement: Judgement) -> None:
            self._on_judgement(judgement)
            progress.tell(judgement)

        plan, self.outcome = learn_plan(
            Task(self.problem, target, choice.allocation, choice.search, choice.seed, self._clock, self._time_up),
            self._judge,
            evaluator=self._evaluator,
            original_ms=self._start_ms,
            beginning=self._beginning,
            on_judgement=on_judgement,
            on_probe=progress.tell_probe,
            on_confirmation=progress.tell_confirmation,
            known=self.outcome,
        )
        return plan
