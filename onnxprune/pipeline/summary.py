"""The record of a run."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from onnxprune.graph import graph_cost, load
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.outcome import Outcome
from onnxprune.pipeline.stages import StageResult
from onnxprune.pipeline.structure import Structure
from onnxprune.report import (
    ExportCheck,
    LearningRecord,
    Report,
    StageRecord,
    TargetRecord,
    coverage,
    environment,
    model_figures,
    model_file,
)
from onnxprune.report.assembly import (
    device_figures,
    file_bytes,
    fixed_records,
    group_records,
    latency_figures,
    learning_record,
    metric_figures,
    search_probes,
    target_record,
    training_record,
    verification_record,
)
from onnxprune.search import GroupRatios, told_cost

if TYPE_CHECKING:
    from onnxprune.pipeline.settings import Settings


def make_report(outcome: Outcome, settings: Settings, started: dt.datetime, observer: Collecting) -> Report:
    """Put a run's record together.

    Args:
        outcome: What the run found out.
        settings: What it was told, and chose where it was not.
        started: When it began.
        observer: Knows the warnings and where the time went.
    """
    # First, since the time from here on is no part of them.
    steps = observer.steps()
    network, plan = outcome.network, outcome.structure.plan
    trained = outcome.trained
    before_metric, after_metric = outcome.metrics or (None, None)
    costs = [graph_cost(model, network.input_shapes) for model in (network.model, outcome.result)]
    figures = [
        model_figures(
            cost,
            file_bytes(path, model),
            latency_figures(stats, network.input_shapes),
            metric_figures(metric, "test"),
        )
        for cost, model, path, stats, metric in (
            (costs[0], network.model, network.path, outcome.latency[0], before_metric),
            (costs[1], outcome.result, outcome.output, outcome.latency[1], after_metric),
        )
    ]
    finished = dt.datetime.now(dt.UTC)
    env = environment()
    return Report(
        onnxprune_version=env.packages.get("onnxprune", "unknown"),
        operation=settings.operation,
        command=settings.command,
        seed=settings.seed,
        started_at=started,
        finished_at=finished,
        duration_s=round((finished - started).total_seconds(), 3),
        steps=steps,
        environment=env,
        settings=_settings(outcome, settings),
        model=model_file(network.path, network.model),
        output=model_file(outcome.output, load(outcome.output)),
        target=_target(outcome),
        device=device_figures(settings.device, settings.measure, network.input_shapes),
        before=figures[0],
        after=figures[1],
        coverage=coverage(network.channels, costs[0]),
        groups=group_records(network.channels, plan.keep),
        fixed=fixed_records(network.channels),
        layers=outcome.layers,
        verification=verification_record(outcome.structure.verification),
        export_check=None
        if trained is None
        else ExportCheck(relative_error=trained.export_error, max_abs=trained.export_max_abs),
        training=None if trained is None else training_record(trained.history),
        search=search_probes(
            outcome.target.kind, ((p.predicted, p.measured, p.macs) for p in plan.probes), costs[1].macs
        ),
        learning=_learning(outcome.structure, outcome),
        stages=tuple(_stage(result, outcome) for result in outcome.stages) if len(outcome.stages) > 1 else (),
        quantisation=outcome.quantised,
        warnings=tuple(observer.warnings),
    )


def _learning(structure: Structure, outcome: Outcome) -> LearningRecord | None:
    if structure.outcome is None:
        return None
    return learning_record(structure.outcome, structure.allocation, outcome.network.channels, outcome.target.kind)


def _stage(result: StageResult, outcome: Outcome) -> StageRecord:
    plan = result.structure.plan
    per_unit = [group.channels_per_unit for group in outcome.network.channels.groups]
    return StageRecord(
        cost=told_cost(outcome.target.kind, plan.achieved),
        channels=tuple(int(count) * each for count, each in zip(plan.counts, per_unit, strict=True)),
        training=None if result.trained is None else training_record(result.trained.history),
        learning=_learning(result.structure, outcome),
    )


def _target(outcome: Outcome) -> TargetRecord:
    target, plan = outcome.target, outcome.structure.plan
    if target.kind == "latency":
        before, after = outcome.latency
        return target_record(target, before.p50_ms, after.p50_ms)
    if target.kind == "size":
        return target_record(target, plan.original, float(file_bytes(outcome.output, load(outcome.output))))
    if target.kind in {"macs", "params"}:
        # Counted on the delivered graph: with a branch that goes whole, layers go that no closed form counts out.
        cost = graph_cost(outcome.result, outcome.network.input_shapes)
        return target_record(target, plan.original, float(cost.macs if target.kind == "macs" else cost.parameters))
    return target_record(target, plan.original, told_cost(target.kind, plan.achieved))


def _settings(outcome: Outcome, settings: Settings) -> dict[str, Any]:
    """Options as JSON takes them."""
    return {
        "importance": settings.importance,
        "allocation": outcome.structure.allocation,
        "search_budget": None if settings.search is None else settings.search.text,
        "rl_pruner": _hyper_parameters(settings) if outcome.structure.allocation == "rl-pruner" else None,
        "heal": settings.heal,
        "branches": settings.branches,
        "stages": settings.stages,
        "teacher": settings.teacher,
        "round_to": settings.round_to,
        "quantize": settings.quantize,
        "calibration": settings.calibration if settings.quantize else None,
        "max_drop": settings.max_drop,
        "keep": list(settings.restriction.keep),
        "only": list(settings.restriction.only),
        "units": list(settings.restriction.kinds),
        "max_ratio": settings.limits.max_ratio,
        "min_channels": settings.limits.min_channels,
        "ratios": dict(settings.target.shares) if isinstance(settings.target, GroupRatios) else None,
        "data": None if settings.data is None else str(settings.data),
        "val": None if settings.val is None else str(settings.val),
        "test": None if settings.test is None else str(settings.test),
        "metric": None if settings.metric is None else settings.metric.name,
        "preprocess": None if settings.preprocess is None else settings.preprocess.model_dump(mode="json"),
        "input_shapes": {name: list(sizes) for name, sizes in (settings.input_shapes or {}).items()},
    }


def _hyper_parameters(settings: Settings) -> list[str]:
    """Write the agent's hyper-parameters as the library and the command line take them."""
    return [f"{name}={value}" for name, value in asdict(settings.rl_pruner).items()]
