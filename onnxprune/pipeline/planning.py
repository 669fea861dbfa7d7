"""The structure for a target: a plain allocation's, or the best that an agent's search finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnxprune.pipeline.measuring import Bench, LatencyEvaluator
from onnxprune.pipeline.prepare import Network
from onnxprune.search import (
    AGENTS,
    ALLOCATIONS,
    AgentName,
    AllocationName,
    Judge,
    Judgement,
    Plan,
    Probe,
    Problem,
    SearchConfig,
    SearchOutcome,
    Subject,
    Target,
    Task,
    find_plan,
    latency_problem,
    learn_plan,
    paper_problem,
)

MakeJudge = Callable[[], Judge]
"""Makes the judge of an agent's candidates: late, since it runs the original on the evaluation samples."""


@dataclass(frozen=True)
class Choice:
    """What the user chose.

    Attributes:
        target: What to reach.
        allocation: How the pruning is spread over the groups: a plain allocation, or the agent that learns it.
        round_to: A fixed block of channels; None: what the measured layers ask for.
        seed: Seed of the agent and of the verification's inputs.
        search: How long an agent searches.
    """

    target: Target
    allocation: AllocationName | AgentName
    round_to: int | None
    seed: int
    search: SearchConfig = field(default_factory=SearchConfig)


def make_problem(network: Network, scores: np.ndarray, choice: Choice, bench: Bench, original_ms: float) -> Problem:
    """Measure what channel counts cost, layer by layer, unless the user fixed the block."""
    subject = Subject(network.model, network.channels, network.shapes, scores)
    if choice.round_to is not None:
        return paper_problem(subject, choice.round_to)
    bench.observer.stage("measuring layers")

    def on_layer(done: int, total: int) -> None:
        bench.observer.advance(note=f"{done}/{total} layers")

    return latency_problem(subject, bench.device.layer_costs(bench.options), original_ms, on_layer=on_layer)


class Planner:
    """Finds the structure for a target by a plain allocation, or by an agent's search."""

    def __init__(
        self, problem: Problem, choice: Choice, evaluator: LatencyEvaluator, make_judge: MakeJudge | None
    ) -> None:
        """Prepare to plan.

        Args:
            problem: What is decided about.
            choice: What the user chose.
            evaluator: Measures candidates beside the original.
            make_judge: Makes the judge of candidates, for an agent.
        """
        self.original_ms = evaluator.original_ms
        self.outcome: SearchOutcome | None = None
        self._problem = problem
        self._choice = choice
        self._observer = evaluator.observer
        self._evaluator = evaluator
        self._make_judge = make_judge
        self._judge: Judge | None = None

    def plan(self, target: Target) -> Plan:
        """Find the structure for a target."""
        self._observer.stage("finding the structure")
        for name in ALLOCATIONS:
            if name == self._choice.allocation:
                return find_plan(
                    self._problem,
                    target,
                    name,
                    evaluator=self._evaluator,
                    original_ms=self.original_ms,
                    on_probe=self._on_probe,
                )
        return self._learn(target)

    def _learn(self, target: Target) -> Plan:
        choice = self._choice
        assert choice.allocation in AGENTS
        assert self._make_judge is not None
        if self._judge is None:
            self._judge = self._make_judge()
        self._observer.stage(f"searching ({choice.allocation})", choice.search.evaluations)
        plan, self.outcome = learn_plan(
            Task(self._problem, target, choice.allocation, choice.search, choice.seed),
            self._judge,
            evaluator=self._evaluator,
            original_ms=self.original_ms,
            on_judgement=self._on_judgement,
            on_probe=self._on_probe,
        )
        return plan

    def _on_probe(self, probe: Probe) -> None:
        self._observer.advance(0, note=f"{probe.measured:.3g} ms")

    def _on_judgement(self, judgement: Judgement) -> None:
        verdict = judgement.verdict
        self._observer.advance(note=f"{judgement.candidate.source}: metric {verdict.metric:.2f}")
