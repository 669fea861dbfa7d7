"""How long a run should take: its costly steps on a small scale, by the clock, times how often they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxprune.channels import prune
from onnxprune.importance import criterion
from onnxprune.pipeline.judging import (
    HealedJudge,
    Subjects,
    candidate_healer,
    evaluation_samples,
    final_samples,
    healing_samples,
)
from onnxprune.pipeline.measuring import Bench, measure_beside
from onnxprune.pipeline.modules import module_of
from onnxprune.pipeline.prepared import Prepared
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import stage_trainings
from onnxprune.pipeline.staging import CALIBRATION_SAMPLES, criterion_name, score
from onnxprune.pipeline.training import draft_healer, final_healer
from onnxprune.progress import SilentObserver
from onnxprune.report import StepEstimate
from onnxprune.search import Problem, full_counts, keep_mask
from onnxprune.search.problem import layer_specs
from onnxprune.training import DataSplits, DistillConfig

# Steps are timed on a sixteenth and an eighth of what they take, and prolonged along the line through both.
_SMALL, _LARGE = 16, 8
# Training steps that are timed; and what judging a part costs of a training step on as many samples.
_STEPS, _FORWARD_SHARE = 4, 0.33
# Points that the table wants of a layer that it does not hold; layers that are timed to know what one takes.
_POINTS, _TIMED_LAYERS = 12, 3
# Short measurements (the original beside a candidate) and long ones, of a search and of a plain allocation.
_SEARCH_PAIRS, _PLAIN_PAIRS, _LONG_PAIRS = 26, 6, 6
_QUICK_SESSIONS, _QUICK_MS = 3, 60.0
# Networks that are quantised at the end: the result, and the original beside it.
_QUANTISED = 2
# Structures that are healed as the final network is before one is taken, and the share that is judged on all samples.
_CONFIRMED, _SECOND_LOOKS = 6, 0.6


@dataclass(frozen=True)
class Trial:
    """A run whose time is to be estimated.

    Attributes:
        prepared: What it knows.
        settings: What it is told.
        bench: Where it measures.
        problem: What is decided about.
        counts: A structure of about the size of the result's, shape (groups,).
        original_ms: The original's p50.
        stages: Steps that the target is reached in.
    """

    prepared: Prepared
    settings: Settings
    bench: Bench
    problem: Problem
    counts: np.ndarray
    original_ms: float
    stages: int

    @cached_property
    def keep(self) -> np.ndarray:
        """Which units the structure keeps, shape (units,)."""
        return keep_mask(self.prepared.network.channels, self.problem.scores, self.counts)


def estimates(trial: Trial) -> tuple[StepEstimate, ...] | None:
    """Estimate the seconds of each step; None where nobody can say, as of the published algorithm."""
    if trial.prepared.choice.allocation == "rl-pruner" and trial.prepared.choice.counts is None:
        return None
    trial.bench.observer.stage("estimating the time")
    measuring = _measuring_s(trial)
    steps = {
        "scoring channels": _scoring_s(trial),
        "measuring layers": _layers_s(trial),
        "measuring": measuring,
    }
    data = trial.prepared.data
    if data is not None:
        healing = _healing_s(trial, data)
        judging, evaluating = _judging_s(trial, data)
        if trial.prepared.choice.searches:
            steps["searching"] = trial.stages * (judging + (_CONFIRMED + 1) * healing[1])
        if trial.settings.heal:
            steps["healing"] = trial.stages * sum(healing)
        if trial.settings.training is not None:
            steps["distilling"] = _training_s(trial, data, trial.settings.training)
        if trial.settings.quantize is not None:
            steps["quantising"] = _QUANTISED * seconds(lambda: trial.bench.delivered(trial.prepared.network.model))
            # The network of every step is judged: the original in int8, pruned, and, of a training, before and after.
            evaluating *= 2 if trial.settings.training is None else 3
        steps["evaluating on the test part"] = evaluating
    return tuple(StepEstimate(name=name, seconds=round(seconds, 2)) for name, seconds in steps.items() if seconds > 0)


def prolonged(action: Callable[[int], object], whole: int, least: int = 1) -> float:
    """Return the seconds that an action should take of a size, from smaller ones.

    Args:
        action: Does it at a size.
        whole: The size.
        least: The smallest size that it can be done at.
    """
    small, large = (max(least, whole // share) for share in (_SMALL, _LARGE))
    if large <= small:
        large = min(2 * small, whole)
    if large <= small:
        return seconds(lambda: action(whole))
    # The first time, what is needed is loaded.
    action(small)
    first, second = seconds(lambda: action(small)), seconds(lambda: action(large))
    return second + max(second - first, 0.0) * (whole - large) / (large - small)


def seconds(action: Callable[[], object]) -> float:
    """Return the wall-clock seconds of an action."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _scoring_s(trial: Trial) -> float:
    network, data, settings = trial.prepared.network, trial.prepared.data, trial.settings
    if data is None or criterion(criterion_name(settings, data)).needs != "data":
        return 0.0

    def action(samples: int) -> None:
        score(network, settings, replace(data, train=data.train.subset(samples, settings.seed)), SilentObserver())

    whole = min(CALIBRATION_SAMPLES, len(data.train))
    return trial.stages * prolonged(action, whole, network.fixed_batch or 1)


def _measuring_s(trial: Trial) -> float:
    """Seconds of measuring whole networks."""
    network, options = trial.prepared.network, trial.bench.options
    pruned = prune(network.model, network.channels, trial.keep)
    quick = replace(trial.bench, options=replace(options, sessions=_QUICK_SESSIONS, session_ms=_QUICK_MS))
    pair_s = seconds(lambda: measure_beside(network, pruned, quick))

    def session_ms(length_ms: float) -> float:
        runs = min(max(length_ms / trial.original_ms, options.min_runs), options.max_runs) + options.warmup
        return runs * trial.original_ms

    longer = options.sessions * session_ms(options.session_ms) / (_QUICK_SESSIONS * session_ms(_QUICK_MS))
    if trial.prepared.choice.target.kind != "latency":
        return 2 * longer * pair_s
    pairs = _SEARCH_PAIRS if trial.prepared.choice.searches else _PLAIN_PAIRS
    return trial.stages * (pairs + _LONG_PAIRS * longer) * pair_s


def _layers_s(trial: Trial) -> float:
    """Seconds of measuring layers that the table does not hold; nothing is added to it."""
    network, choice = trial.prepared.network, trial.prepared.choice
    if choice.round_to is not None or choice.counts is not None:
        return 0.0
    table = trial.bench.device.layer_costs(trial.bench.options)
    found = layer_specs(network.model, network.shapes, network.channels, trial.bench.number_format)
    specs = sorted(set(found.values()), key=str)
    timed = specs[:: -(-len(specs) // _TIMED_LAYERS)] if specs else []
    each = [seconds(lambda spec=spec: table.cost_ms(spec)) for spec in timed]  # type: ignore[misc]
    # The first one calibrates the profiler, too, which is done once.
    usual = each[1:] or each
    return each[0] + float(np.mean(usual)) * _POINTS * len(specs) if each else 0.0


def _healing_s(trial: Trial, data: DataSplits) -> tuple[float, float]:
    """Seconds of collecting moments and of the final healing."""
    network, seed = trial.prepared.network, trial.settings.seed
    if not trial.settings.heal:
        return 0.0, 0.0
    pruned, least = prune(network.model, network.channels, trial.keep), network.fixed_batch or 1

    def collect(samples: int) -> None:
        candidate_healer(network, data.train.subset(samples, seed), seed)

    def finish(samples: int) -> None:
        heal = final_healer(network, data.train.subset(samples, seed), seed)
        if heal is not None:
            heal(pruned, trial.keep)

    moments_s = prolonged(collect, min(healing_samples(network), len(data.train)), least)
    return moments_s, prolonged(finish, min(final_samples(network), len(data.train)), network.module_batch or 1)


def _judging_s(trial: Trial, data: DataSplits) -> tuple[float, float]:
    """Seconds of judging an agent's structures, and of judging the original and the result on the test part."""
    network, seed = trial.prepared.network, trial.settings.seed
    evaluation = data.val.spread(evaluation_samples(network), seed)
    few = data.train.subset(max(healing_samples(network) // _SMALL, network.fixed_batch or 1), seed)
    heal = candidate_healer(network, few, seed) if trial.settings.heal and trial.prepared.choice.searches else None
    start_s = time.perf_counter()
    judge = HealedJudge(Subjects(network, trial.problem.scores, evaluation, heal))
    preparing_s = time.perf_counter() - start_s
    first_s = seconds(lambda: judge.judge(trial.counts, judge.looks[0]))
    full_s = seconds(lambda: judge.judge(trial.counts, judge.looks[-1]))
    # The judge has run the original on the same samples.
    evaluating_s = (full_s + preparing_s) * len(data.test) / len(evaluation)
    search = trial.prepared.choice.search.divided(trial.stages)
    noting_s, draft_s = _drafting_s(trial, data) if heal is not None else (0.0, 0.0)
    each_s = first_s + draft_s + _SECOND_LOOKS * full_s
    length_s = search.evaluations * each_s if search.seconds is None else search.seconds
    return preparing_s + noting_s + length_s, evaluating_s


def _drafting_s(trial: Trial, data: DataSplits) -> tuple[float, float]:
    """Seconds of noting what the original's layers give, and of solving a candidate's again."""
    network = trial.prepared.network
    draft = draft_healer(network, data.train, trial.settings.seed)
    if draft is None:
        return 0.0, 0.0
    pruned = prune(network.model, network.channels, trial.keep)
    whole_s, each_s = (seconds(lambda: draft(pruned, trial.keep)) for _ in range(2))
    return whole_s - each_s, each_s


def _training_s(trial: Trial, data: DataSplits, training: DistillConfig) -> float:
    """Seconds of training, from a few steps: the original's outputs once, then steps and validations."""
    if training.time_budget_s is not None and training.epochs is None:
        return training.time_budget_s
    from onnxprune.training import distil

    network = trial.prepared.network
    pruned = prune(network.model, network.channels, trial.keep)
    teacher = module_of(network, network.model)
    config = replace(training, time_budget_s=None)
    batch = config.batch_size_for(len(data.train))
    few = data.train.subset(_STEPS * batch, config.seed)
    config = replace(config, batch_size=batch)

    def run(epochs: int) -> None:
        student = module_of(network, pruned)
        distil(student, teacher, few, None, replace(config, epochs=epochs))

    run(1)
    one_s, three_s = seconds(lambda: run(1)), seconds(lambda: run(3))
    # Short trainings can take as long as longer ones where others use the machine.
    step_s = (three_s - one_s) / (2 * _STEPS) if three_s > one_s else one_s / _STEPS
    samples = len(data.train)
    steps, trainings = training.steps_per_epoch(samples), stage_trainings(training, trial.stages, samples)
    epochs = sum(one.planned_epochs(steps) for one in trainings if one is not None)
    macs_of = trial.problem.paper.macs_of
    larger = macs_of(full_counts(network.channels)) / max(macs_of(trial.counts), 1)
    forward_s = _FORWARD_SHARE * step_s / batch
    teaching_s = trial.stages * larger * forward_s * (len(data.train) + len(data.val))
    total_s = teaching_s + epochs * (step_s * steps + forward_s * len(data.val))
    return total_s if training.time_budget_s is None else min(total_s, training.time_budget_s)
