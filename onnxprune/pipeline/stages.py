"""Stages: a target far away is reached in steps, each pruned, healed and trained before the next is taken.

With c the original's cost and t the target's, stage k of n aims at c (t / c)^(k / n): every stage removes the same
share of what is left. Units keep their numbers: after a stage the trained weights are put back where they were cut
from, with zeros where units are gone, and the next stage prunes that network further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.channels import embed
from onnxprune.graph import release_weights
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.structure import Structure
from onnxprune.pipeline.training import Trained
from onnxprune.search import Problem, Target, limit_of
from onnxprune.training import DistillConfig

# Beyond this share of the cost one stage is as good as two, with the same number of epochs.
_ONE_STAGE = 0.4
_MOST_STAGES = 4


@dataclass(frozen=True)
class Stage:
    """Where a stage begins and what it is for.

    Attributes:
        number: From 1.
        target: What it must reach.
        network: What it prunes: the original, or what the stage before made of it, in the original's shape.
        left: Whether each unit is still there at its beginning, shape (units,).
        cost: What the network it begins with costs, in the target's unit.
        training: How it trains; None: not at all.
        last: Whether no other follows, which would mend what this one misses by a little.
    """

    number: int
    target: Target
    network: Network
    left: np.ndarray
    cost: float
    training: DistillConfig | None
    last: bool = True


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        stage: The stage.
        structure: The pruned network.
        trained: The training; None without one.
    """

    stage: Stage
    structure: Structure
    trained: Trained | None


RunStage = Callable[[Stage], StageResult]


def stage_count(wanted: int | None, share: float, training: DistillConfig | None) -> int:
    """Say how many stages a run takes.

    Args:
        wanted: What the user asks for; None: what the gap to the target asks for.
        share: The target's cost as a share of the original's.
        training: How the run trains; without training, stages would only repeat each other.
    """
    if wanted is not None:
        return wanted
    if training is None or share >= _ONE_STAGE or share <= 0:
        return 1
    most = _MOST_STAGES if training.epochs is None else min(_MOST_STAGES, training.epochs)
    return max(1, min(most, math.ceil(math.log(share) / math.log(_ONE_STAGE))))


def stage_targets(target: Target, original: float, count: int, limit: float | None = None) -> list[Target]:
    """Return what each stage must reach, the last one what the user wants.

    Args:
        target: What the user wants.
        original: What the first stage begins with, in the target's unit; of a ratio, 1.
        count: Number of stages.
        limit: What the user wants, in the target's unit; None: as the target says of `original`.
    """
    last = limit_of(target, original) if limit is None else limit
    targets = []
    for number in range(1, count):
        cost = original * (last / original) ** (number / count)
        value = 1.0 - cost if target.kind == "ratio" else cost
        targets.append(replace(target, value=value, relative=False, text=f"{target.text}, stage {number} of {count}"))
    return [*targets, target]


def stage_trainings(training: DistillConfig | None, count: int, samples: int) -> list[DistillConfig | None]:
    """Divide what one stage would train among several: the last one gets twice the share of each other.

    Args:
        training: How a run of one stage trains; None: not at all.
        count: Number of stages.
        samples: Training samples, which say how many epochs that is where nobody else does.
    """
    if training is None or count == 1:
        return [training] * count
    epochs: Sequence[int | None] = [None] * count
    if training.epochs is not None or training.time_budget_s is None:
        epochs = _divided(training.planned_epochs(training.steps_per_epoch(samples)), count)
    budget_s = training.time_budget_s
    shares = [1 / (count + 1)] * (count - 1) + [2 / (count + 1)]
    return [
        replace(training, epochs=part, time_budget_s=None if budget_s is None else budget_s * share)
        for part, share in zip(epochs, shares, strict=True)
    ]


def _divided(epochs: int, count: int) -> list[int]:
    """Divide whole epochs, at least one each; what does not come out even is cut from the earlier stages first."""
    parts: list[int] = []
    for stages in range(count, 1, -1):
        parts.append(max(1, (epochs - sum(parts)) // (stages + 1)))
    return [*parts, max(1, epochs - sum(parts))]


def run_stages(first: Stage, targets: Sequence[Target], samples: int, run_stage: RunStage) -> list[StageResult]:
    """Run stage after stage, each on the network that the one before it made.

    Args:
        first: The first stage, with the whole run's training.
        targets: What each stage must reach.
        samples: Training samples.
        run_stage: Runs one stage.
    """
    results: list[StageResult] = []
    stage = first
    trainings = stage_trainings(first.training, len(targets), samples)
    for target, training in zip(targets, trainings, strict=True):
        if results:
            stage = next_stage(first.network, results[-1])
        last = len(results) == len(targets) - 1
        results.append(run_stage(replace(stage, target=target, training=training, last=last)))
    return results


def next_stage(original: Network, result: StageResult) -> Stage:
    """Begin where a stage ended."""
    plan, stage = result.structure.plan, result.stage
    small = result.structure.pruned if result.trained is None else result.trained.model
    model = embed(original.model, original.channels, plan.keep, small)
    release_weights(original.model)
    return replace(
        stage, number=stage.number + 1, network=replace(original, model=model), left=plan.keep, cost=plan.achieved
    )


def limited(problem: Problem, stage: Stage, scores: np.ndarray) -> Problem:
    """Return a stage's problem: only what is left can go, by its own scores.

    Args:
        problem: The original's.
        stage: The stage.
        scores: Importance of every unit of its network, shape (units,).
    """
    return replace(problem, scores=scores, admissible=problem.admissible.at_most(units_left(problem, stage.left)))


def units_left(problem: Problem, left: np.ndarray) -> np.ndarray:
    """Count the units that each group still has, shape (groups,)."""
    return np.array([int(left[group.units].sum()) for group in problem.channels.groups])


def among_left(scores: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Score units that are gone below all that are left, shape (units,)."""
    least = max(float(scores.max()), 1.0) * 1e-12
    scores_left: np.ndarray = np.where(left, np.maximum(scores, least), 0.0)
    return scores_left
