"""Make the parts of a report of what the layers below return."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxprune.graph import GraphCost, input_specs, samples_of
from onnxprune.report.figures import (
    DeviceFigures,
    FileRecord,
    LatencyFigures,
    MetricFigures,
    ModelFigures,
    ModelFile,
    ModelInput,
)
from onnxprune.report.schema import (
    FixedRecord,
    GroupRecord,
    JudgedStructure,
    LearningRecord,
    SearchProbe,
    TargetRecord,
    TrainingEpoch,
    TrainingRecord,
    VerificationRecord,
)
from onnxprune.search.target import UNITS, Target, TargetKind, told_cost

if TYPE_CHECKING:
    import numpy as np

    from onnxprune.channels import ChannelMap, Verification
    from onnxprune.latency.device import Device
    from onnxprune.latency.options import MeasureOptions
    from onnxprune.latency.stats import LatencyStats
    from onnxprune.search import SearchOutcome
    from onnxprune.training import Metrics, TrainingHistory

_DIGITS_MS = 4

Shapes = Mapping[str, Sequence[int]]


def model_file(path: str | Path, model: ir.Model) -> ModelFile:
    """Describe a model's file.

    Args:
        path: The .onnx file.
        model: What was loaded from it, or saved to it.
    """
    path = Path(path)
    data_files = tuple(_file_record(data) for data in _data_files(path, model))
    main = _file_record(path)
    return ModelFile(
        path=str(path),
        sha256=main.sha256,
        bytes=main.bytes + sum(file.bytes for file in data_files),
        data_files=data_files,
        inputs=tuple(
            ModelInput(name=spec.name, dtype=str(spec.dtype), shape=spec.shape) for spec in input_specs(model)
        ),
        opset=model.opset_imports.get("", 0),
        ir_version=model.ir_version,
    )


def file_bytes(path: str | Path, model: ir.Model) -> int:
    """Return the size of a model's file with its external data."""
    path = Path(path)
    return sum(file.stat().st_size for file in [path, *_data_files(path, model)])


def _data_files(path: Path, model: ir.Model) -> list[Path]:
    tensors = (value.const_value for value in model.graph.initializers.values())
    # Large weights inside the file itself are mapped from it too.
    names = {tensor.location for tensor in tensors if isinstance(tensor, ir.ExternalTensor)} - {path.name}
    # A model that was just saved may still map the data files of the one it was made from.
    return [file for name in sorted(map(str, names)) if (file := path.parent / name).is_file()]


def _file_record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=digest)


def model_figures(
    cost: GraphCost,
    size_bytes: int,
    latency: LatencyFigures | None = None,
    metric: MetricFigures | None = None,
) -> ModelFigures:
    """Put together what is known of one model.

    Args:
        cost: What it costs on paper.
        size_bytes: Size of its file, external data included.
        latency: How fast it ran, from `latency_figures`.
        metric: How good it is, from `metric_figures`.
    """
    return ModelFigures(
        macs=cost.macs,
        parameters=cost.parameters,
        file_bytes=size_bytes,
        weight_bytes=cost.weight_bytes,
        peak_activation_bytes=cost.peak_activation_bytes,
        latency=latency,
        metric=metric,
    )


def latency_figures(stats: LatencyStats, input_shapes: Shapes) -> LatencyFigures:
    """Round a measurement to the tenth of a microsecond.

    Args:
        stats: The measurement.
        input_shapes: Sizes of the inputs that it was made with.
    """
    low, high = stats.ci95_ms
    return LatencyFigures(
        p50_ms=_ms(stats.p50_ms),
        p90_ms=_ms(stats.p90_ms),
        p99_ms=_ms(stats.p99_ms),
        mean_ms=_ms(stats.mean_ms),
        spread=round(stats.spread, 4),
        ci95_ms=(_ms(low), _ms(high)),
        samples_ms=tuple(tuple(_ms(sample) for sample in session) for session in stats.samples_ms),
        input_shapes={name: tuple(sizes) for name, sizes in input_shapes.items()},
    )


def _ms(value: float) -> float:
    return round(value, _DIGITS_MS)


def metric_figures(metrics: Metrics | None, part: str) -> MetricFigures | None:
    """Record metrics.

    Args:
        metrics: What was measured, if anything was.
        part: On which part of the data: "train", "validation" or "test".

    Returns:
        The figures; None where nothing was measured or the user's metric failed.
    """
    if metrics is None or metrics.failure is not None:
        return None
    return MetricFigures(
        name=metrics.primary_name,
        value=metrics.primary,
        part=part,
        samples=metrics.samples,
        synthetic=metrics.synthetic,
        top1=metrics.top1,
        agreement=metrics.agreement,
        kl=metrics.kl,
        errors=metrics.errors,
    )


def device_figures(device: Device, options: MeasureOptions, input_shapes: Shapes) -> DeviceFigures:
    """Record what latencies are measured on.

    Args:
        device: The device.
        options: How they are measured; of a model whose batch is fixed they do not know it.
        input_shapes: Sizes of the inputs.
    """
    return DeviceFigures(
        name=device.name,
        provider=options.provider,
        threads=options.threads,
        batch=samples_of(input_shapes),
        io_binding=options.binds,
        fingerprint=device.fingerprint(options),
        conditions=dict(device.conditions),
        busy_s=None if device.busy_s is None else round(device.busy_s, 1),
    )


def target_record(target: Target, original: float, achieved: float) -> TargetRecord:
    """Record a target.

    Args:
        target: What was asked for.
        original: The original's cost in the target's unit; for a ratio it does not matter.
        achieved: The result's.
    """
    return TargetRecord(
        kind=target.kind,
        requested=target.text,
        value=target.resolve(original),
        unit=UNITS[target.kind],
        achieved=achieved,
    )


def group_records(channels: ChannelMap, keep: np.ndarray) -> tuple[GroupRecord, ...]:
    """Record the channels of each group before and after.

    Args:
        channels: The analysis.
        keep: Whether each unit stays, shape (units,).
    """
    return tuple(
        GroupRecord(
            name=group.name,
            producers=group.producers,
            channels_before=group.size * group.channels_per_unit,
            channels_after=int(keep[group.units].sum()) * group.channels_per_unit,
        )
        for group in channels.groups
    )


def fixed_records(channels: ChannelMap) -> tuple[FixedRecord, ...]:
    """Record what cannot be removed and why."""
    return tuple(
        FixedRecord(producer=fixed.producer, channels=fixed.channels, reason=fixed.reason, hint=fixed.hint)
        for fixed in channels.fixed
    )


def verification_record(verification: Verification) -> VerificationRecord:
    """Record the proof of a removal."""
    return VerificationRecord(
        relative_error=verification.relative_error,
        output=verification.output,
        tolerance=verification.tolerance,
        compared=verification.compared,
        sizes=verification.sizes,
    )


def training_record(history: TrainingHistory) -> TrainingRecord:
    """Record a training."""
    return TrainingRecord(
        epochs=tuple(
            TrainingEpoch(
                epoch=epoch.epoch,
                train_loss=epoch.train_loss,
                val_metric=None if epoch.val is None else epoch.val.primary,
                learning_rate=epoch.learning_rate,
                elapsed_s=round(epoch.elapsed_s, 3),
            )
            for epoch in history.records
        ),
        best_epoch=history.best_epoch,
        stopped_by=history.stopped_by,
        steps=history.steps,
        device=history.device,
        settings=history.to_dict()["config"],
        notes=history.notes,
    )


def learning_record(outcome: SearchOutcome, agent: str, channels: ChannelMap, kind: TargetKind) -> LearningRecord:
    """Record an agent's search.

    Args:
        outcome: Everything it judged.
        agent: Its name.
        channels: The analysis.
        kind: What the target limits.
    """
    per_unit = [group.channels_per_unit for group in channels.groups]
    return LearningRecord(
        agent=agent,
        stopped_by=outcome.stopped_by,
        judged=tuple(
            JudgedStructure(
                round=judgement.round,
                source=judgement.candidate.source,
                channels=tuple(
                    int(count) * each for count, each in zip(judgement.candidate.counts, per_unit, strict=True)
                ),
                reward=judgement.verdict.reward,
                metric=judgement.verdict.metric,
                samples=judgement.verdict.samples,
                cost=told_cost(kind, judgement.cost),
                elapsed_s=round(judgement.elapsed_s, 3),
            )
            for judgement in outcome.judgements
            if judgement.verdict.known
        ),
        failed=sum(not judgement.verdict.known for judgement in outcome.judgements),
    )


def search_probes(
    kind: TargetKind, probes: Iterable[tuple[float, float, int | None]], delivered_macs: int
) -> tuple[SearchProbe, ...]:
    """Record what a search measured.

    Args:
        kind: What the target limits.
        probes: Of each structure what was predicted, what was measured, and its MACs or None, in order.
        delivered_macs: MACs of the delivered network, by which its structure is known again: it is measured anew, and
            longer, before it is delivered.
    """
    found = list(probes)
    delivered = max((place for place, (_, _, macs) in enumerate(found) if macs == delivered_macs), default=None)
    return tuple(
        SearchProbe(
            predicted=told_cost(kind, predicted),
            measured=told_cost(kind, measured),
            macs=macs,
            delivered=place == delivered,
        )
        for place, (predicted, measured, macs) in enumerate(found)
    )
