"""A run of `rl-pruner`: a per cent of the filters at a time, sampled, kept and distilled, until the target is met."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnxprune.pipeline.replay import SearchClock
from onnxprune.pipeline.stages import Stage, StageResult, next_stage, units_left
from onnxprune.pipeline.structure import cut
from onnxprune.search import Problem, RlPruner, RlPrunerConfig, exact, make_plan, out_of_reach
from onnxprune.training import DistillConfig

if TYPE_CHECKING:
    from onnxprune.pipeline.staging import Staging


def run_published(staging: Staging, first: Stage, limit: float) -> list[StageResult]:
    """Run stages until one meets the target.

    Args:
        staging: Scores, judges and trains.
        first: The first stage; its target is the run's.
        limit: The target, in its unit.

    Raises:
        TargetOutOfReachError: Nothing is left to remove.
    """
    problem, config = staging.problem_of(first), staging.settings.rl_pruner
    per_unit = np.array([group.channels_per_unit for group in problem.channels.groups])
    filters = per_unit * np.array([group.size for group in problem.channels.groups])
    least = staging.settings.limits.least(problem.channels)
    agent = RlPruner(filters, per_unit, problem.paper, config, staging.settings.seed, least=least)
    training = None if first.training is None else as_published(first.training, config)
    stage, results = replace(first, training=training), []
    while agent.can_step(units_left(problem, stage.left)):
        result = _stage(staging, stage, agent, first.cost)
        results.append(result)
        if result.structure.plan.achieved <= limit:
            return results
        stage = next_stage(first.network, result)
    raise out_of_reach(first.target, limit, stage.cost, first.cost, staging.beginning(first))


def as_published(training: DistillConfig, config: RlPrunerConfig) -> DistillConfig:
    """Distil as the paper does, where the user does not say how."""
    return replace(
        training,
        epochs=training.epochs or config.epochs,
        optimizer="sgd",
        learning_rate=training.learning_rate or config.learning_rate,
        temperature=config.temperature,
        alpha=config.alpha,
        weight_decay=config.weight_decay,
        logit_weight=0.0,
    )


def _stage(staging: Staging, stage: Stage, agent: RlPruner, original: float) -> StageResult:
    problem = staging.problem_of(stage)
    judge = staging.judge(stage, problem.scores, SearchClock())
    assert judge is not None
    staging.observer.stage(f"stage {stage.number}: sampling (rl-pruner)")

    def metric(counts: np.ndarray) -> float:
        found = judge.judge(counts, judge.looks[-1]).metric
        staging.observer.advance(note=f"metric {found:.2f}")
        return found

    counts = agent.stage(stage.number, units_left(problem, stage.left), metric).counts
    plan = make_plan(problem, counts, 0.0, original, ())
    cost = _cost(staging, stage, problem, counts)
    structure = cut(stage.network, replace(plan, achieved=cost), staging.choice)
    return staging.finish(stage, structure)


def _cost(staging: Staging, stage: Stage, problem: Problem, counts: np.ndarray) -> float:
    if stage.target.kind != "latency":
        return exact(problem, stage.target, counts)
    keep = make_plan(problem, counts, 0.0, 0.0, ()).keep
    return staging.evaluator(stage).latency_ms(keep)
