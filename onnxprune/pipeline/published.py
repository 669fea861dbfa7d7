"""A run of `rl-pruner`: a per cent of the filters at a time, sampled, kept and distilled, until the target is met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from onnxprune.pipeline.replay import SearchClock
from onnxprune.pipeline.search_progress import SamplingProgress
from onnxprune.pipeline.stages import Stage, StageResult, next_stage, units_left
from onnxprune.pipeline.structure import cut
from onnxprune.search import Problem, RlPruner, RlPrunerConfig, Sample, Verdict, exact, make_plan, out_of_reach
from onnxprune.training import DistillConfig
from onnxprune.training.config import Optimizer

if TYPE_CHECKING:
    from onnxprune.pipeline.staging import Staging

PUBLISHED_OPTIMIZER: Optimizer = "sgd"
"""What the paper distils by."""


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
    if first.training is not None:
        first = replace(first, training=as_published(first.training, config))
    agent = RlPruner(filters, per_unit, problem.paper, config, staging.settings.seed, least=least)
    stage = first
    results: list[StageResult] = []
    while agent.can_step(units_left(problem, stage.left)):
        training = _training(first, results, _stages_left(first.cost, stage, limit, config))
        if training is None and stage.training is not None:
            staging.observer.warn(f"the time budget is used up: stages from {stage.number} on are not trained")
        stage = replace(stage, training=training)
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
        optimizer=PUBLISHED_OPTIMIZER,
        learning_rate=training.learning_rate or config.learning_rate,
        temperature=config.temperature,
        alpha=config.alpha,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        warmup=0.0,
        clip_norm=0.0,
        logit_weight=0.0,
    )


def _training(first: Stage, results: Sequence[StageResult], stages_left: int) -> DistillConfig | None:
    """Return how the next stage trains; None: not at all."""
    if first.training is None or first.training.time_budget_s is None:
        return first.training
    spent_s = sum(result.trained.history.spent_s for result in results if result.trained is not None)
    left_s = first.training.time_budget_s - spent_s
    # How many stages follow is a guess: a share is held back, so that one more is trained too.
    return replace(first.training, time_budget_s=left_s / (stages_left + 1)) if left_s > 0 else None


def _stages_left(original: float, stage: Stage, limit: float, config: RlPrunerConfig) -> int:
    """Guess how many stages the target takes from here, this one included, by how fast the cost fell so far.

    Args:
        original: The cost before the first stage.
        stage: The stage that begins.
        limit: The target.
        config: Says what share of the filters goes in a stage; about as much of the cost does, or more.
    """
    done = stage.number - 1
    fell = max(config.share * original, (original - stage.cost) / max(done, 1))
    return max(1, math.ceil((stage.cost - limit) / fell))


def _stage(staging: Staging, stage: Stage, agent: RlPruner, original: float) -> StageResult:
    problem = staging.problem_of(stage)
    judge = staging.judge(stage, problem.scores, SearchClock())
    assert judge is not None
    staging.observer.place = f"stage {stage.number}"
    config = staging.settings.rl_pruner
    progress = SamplingProgress(staging.observer, 1 + config.rounds * config.samples * config.sample_step)
    verdicts: dict[bytes, Verdict] = {}
    numbers = count(1)

    def metric(counts: np.ndarray) -> float:
        key = counts.tobytes()
        if key not in verdicts:
            verdicts[key] = judge.judge(counts, judge.looks[-1])
        progress.tell(verdicts[key])
        return verdicts[key].metric

    def on_sample(sample: Sample) -> None:
        staging.note_sample(stage, next(numbers), sample, _predicted(stage, problem, sample.counts))

    counts = agent.stage(stage.number, units_left(problem, stage.left), metric, on_sample).counts
    plan = make_plan(problem, counts, 0.0, original, ())
    cost = _cost(staging, stage, problem, counts)
    structure = cut(stage.network, replace(plan, achieved=cost), staging.choice)
    return staging.finish(stage, structure)


def _predicted(stage: Stage, problem: Problem, counts: np.ndarray) -> float:
    return problem.cost.total(counts) if stage.target.kind == "latency" else exact(problem, stage.target, counts)


def _cost(staging: Staging, stage: Stage, problem: Problem, counts: np.ndarray) -> float:
    if stage.target.kind != "latency":
        return exact(problem, stage.target, counts)
    keep = make_plan(problem, counts, 0.0, 0.0, ()).keep
    return staging.evaluator(stage).latency_ms(keep)
