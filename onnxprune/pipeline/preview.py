"""What a run would do: all that it looks at before it computes, how far the target is, and how long it should take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxprune.errors import TargetOutOfReachError
from onnxprune.graph import graph_cost
from onnxprune.pipeline.branches import with_branches
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.directory import check_free
from onnxprune.pipeline.estimate import Trial, estimates
from onnxprune.pipeline.measuring import Bench, LatencyEvaluator
from onnxprune.pipeline.planning import Choice, beginning_of, is_missed, left_as_it_is, smallest_cost
from onnxprune.pipeline.prepared import Prepared, prepare
from onnxprune.pipeline.published import as_published
from onnxprune.pipeline.quantising import measured_start
from onnxprune.pipeline.reachable import explained
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import stage_count, stage_trainings
from onnxprune.pipeline.staging import branches_may_go, calibration_batches, criterion_name, score, with_batch
from onnxprune.pipeline.unheeded import stages_note
from onnxprune.progress import Observer
from onnxprune.report import DataPart, Preview, StepEstimate, coverage
from onnxprune.report.assembly import device_figures, file_bytes
from onnxprune.search import (
    UNITS,
    Problem,
    Subject,
    exact,
    limit_of,
    met_already,
    original_cost,
    out_of_reach,
    paper_problem,
    told_cost,
)
from onnxprune.search.allocation import uniform_path
from onnxprune.training import DataSplits

# Scores by weights need no data, and any structure of about the right size serves to take times with.
_QUICK_CRITERION = "reader_l1"


def make_preview(model: str | Path, told: Settings) -> Preview:
    """Say what a run would do, and refuse what it would refuse before it computes.

    Raises:
        OnnxPruneError: As the run's.
    """
    if told.run_dir is not None:
        check_free(told.run_dir)
    observer = Collecting(told.observer)
    prepared = prepare(model, told, observer)
    bench = Bench(told.device, told.measure, observer)
    start = measured_start(prepared.network, told, prepared.choice, bench)
    choice, settings, bench = start.choice, start.settings, start.bench
    settings = replace(settings, training=with_batch(settings.training, prepared.network))
    prepared = replace(prepared, choice=choice)
    problem = _problem(prepared, settings, observer)
    exactly = original_cost(problem, choice.target)
    original, begun = (start.original_ms, start.start_ms) if choice.target.kind == "latency" else (exactly, exactly)
    allowed = limit_of(choice.target, original)
    smallest = met = None
    if choice.counts is None:
        evaluator = LatencyEvaluator(prepared.network, bench, start.original_ms)
        smallest = smallest_cost(problem, choice.target, evaluator, settings.observer)
        error = out_of_reach(choice.target, allowed, smallest, begun, beginning_of(choice, bench, start.original_ms))
        _check_reach(prepared, settings, observer, smallest / allowed, error)
        met = left_as_it_is(choice, prepared.network.channels, begun, allowed)
        if begun <= allowed:
            observer.warn(f"{met_already(choice.target, begun)}: nothing needs to be removed")
        if met is not None:
            choice, settings = met, replace(settings, training=None, heal=False)
            prepared = replace(prepared, choice=choice)
    stages = _stages(settings, choice, allowed / begun)
    for note in stages_note(settings, choice, stages):
        observer.warn(note)
    counts = _structure(problem, prepared, allowed / begun)
    steps = estimates(Trial(prepared, settings, bench, problem, counts, start.original_ms, stages))
    preview = _preview(prepared, settings, start.original_ms, (original, allowed, smallest), stages=stages, steps=steps)
    return preview.model_copy(
        update={
            "operation": told.operation,
            "epochs": _epochs(settings, prepared.data, stages),
            "met": met is not None,
            "warnings": tuple(observer.warnings),
        }
    )


def _preview(
    prepared: Prepared,
    settings: Settings,
    original_ms: float,
    costs: tuple[float, float, float | None],
    *,
    stages: int,
    steps: tuple[StepEstimate, ...] | None,
) -> Preview:
    network, data, choice, training = prepared.network, prepared.data, prepared.choice, settings.training
    cost = graph_cost(network.model, network.input_shapes)
    return Preview(
        operation=settings.operation,
        model=str(network.path),
        file_bytes=file_bytes(network.path, network.model),
        macs=cost.macs,
        parameters=cost.parameters,
        groups=len(network.channels.groups),
        coverage=coverage(network.channels, cost),
        device=device_figures(settings.device, settings.measure, network.input_shapes),
        original_ms=original_ms,
        target=choice.target.kind,
        requested=choice.target.text,
        unit=UNITS[choice.target.kind],
        original=told_cost(choice.target.kind, costs[0]),
        allowed=told_cost(choice.target.kind, costs[1]),
        smallest=None if costs[2] is None else told_cost(choice.target.kind, costs[2]),
        data=_parts(data),
        synthetic=data is not None and data.synthetic,
        importance=criterion_name(settings, data),
        allocation=choice.source,
        structures=stages * choice.search.evaluations if choice.searches and choice.search.seconds is None else 0,
        search_limit_s=choice.search.seconds if choice.searches else None,
        stages=stages,
        quantize=settings.quantize,
        batch_size=0 if training is None else training.batch_size_for(0 if data is None else len(data.train)),
        outputs=tuple(str(path) for path in (prepared.output, settings.report, settings.run_dir) if path is not None),
        steps=steps or (),
        seconds=None if steps is None else round(sum(step.seconds for step in steps), 1),
    )


def _problem(prepared: Prepared, settings: Settings, observer: Observer) -> Problem:
    network, block = prepared.network, prepared.choice.round_to or 1
    scores = score(network, replace(settings, importance=_QUICK_CRITERION), None, observer)
    problem = paper_problem(Subject(network.model, network.channels, network.shapes, scores), block)
    problem = settings.limits.on(problem)
    if branches_may_go(settings, prepared.choice, prepared.data):
        assert prepared.data is not None
        observer.stage("finding branches that can go whole")
        problem = with_branches(problem, network, calibration_batches(network, prepared.data, settings.seed))
    return problem


def _check_reach(
    prepared: Prepared, settings: Settings, observer: Observer, share: float, error: TargetOutOfReachError
) -> None:
    """Refuse a target that the smallest structure misses.

    Args:
        prepared: The run's beginning.
        settings: What it is told.
        observer: Warned where it is close.
        share: The smallest structure's cost as a share of what is allowed.
        error: What is raised, with what the user's limits cost.

    Raises:
        TargetOutOfReachError: It does, and not by a hair.
    """
    if is_missed(prepared.choice.target, share):
        raise explained(error, prepared.network, settings)
    if share > 1.0:
        observer.warn("the target is about what the smallest structure measured: it may turn out to be out of reach")


def _structure(problem: Problem, prepared: Prepared, share: float) -> np.ndarray:
    """Return a structure of about the size that will come out, shape (groups,)."""
    choice = prepared.choice
    if choice.counts is not None:
        return choice.counts
    path = uniform_path(problem)
    sizes: list[float]
    if choice.target.kind in {"latency", "ratio"}:
        # Latency falls about as MACs do, and those about as the square of the channels.
        sizes = [problem.paper.macs_of(counts) for counts in path]
        wanted = share * sizes[0] if choice.target.kind == "latency" else share**2 * sizes[0]
    else:
        sizes = [exact(problem, choice.target, counts) for counts in path]
        wanted = share * sizes[0]
    return next((counts for counts, size in zip(path, sizes, strict=True) if size <= wanted), path[-1])


def _parts(data: DataSplits | None) -> tuple[DataPart, ...]:
    if data is None:
        return ()
    parts = {"training": data.train, "validation": data.val, "test": data.test}
    return tuple(
        DataPart(name=name, samples=len(part), labelled=part.labelled or part.targets is not None)
        for name, part in parts.items()
    )


def _stages(settings: Settings, choice: Choice, share: float) -> int:
    """Return the number of stages; 0 of the published algorithm, which finds out on its way."""
    if choice.counts is not None:
        return 1
    if choice.allocation == "rl-pruner":
        return 0
    return 1 if share >= 1 else stage_count(settings.stages, share, settings.training)


def _epochs(settings: Settings, data: DataSplits | None, stages: int) -> int | None:
    """Return the epochs of all stages, of each where their number is not known; None where the time budget decides."""
    training = settings.training
    if training is None or data is None:
        return 0
    if stages == 0:
        return as_published(training, settings.rl_pruner).epochs
    if training.time_budget_s is not None and training.epochs is None:
        return None
    steps, trainings = training.steps_per_epoch(len(data.train)), stage_trainings(training, stages, len(data.train))
    return sum(one.planned_epochs(steps) for one in trainings if one is not None)
