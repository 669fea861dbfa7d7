"""A complete report with plausible figures, for the tests of its JSON and of its tables."""

from __future__ import annotations

import datetime as dt
from typing import Any

from onnxprune.report.environment import Environment
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
    ExportCheck,
    FixedRecord,
    GroupRecord,
    Report,
    SearchProbe,
    TargetRecord,
    TrainingEpoch,
    TrainingRecord,
    VerificationRecord,
)

START = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)


def latency(p50_ms: float) -> LatencyFigures:
    return LatencyFigures(
        p50_ms=p50_ms,
        p90_ms=p50_ms * 1.1,
        p99_ms=p50_ms * 1.2,
        mean_ms=p50_ms * 1.02,
        spread=0.031,
        ci95_ms=(p50_ms * 0.99, p50_ms * 1.01),
        samples_ms=((p50_ms, p50_ms), (p50_ms, p50_ms)),
    )


def metric(value: float, **changes: Any) -> MetricFigures:
    fields = {
        "name": "top-1",
        "value": value,
        "part": "test",
        "samples": 1000,
        "top1": value,
        "errors": (0.1, None),
    }
    return MetricFigures(**{**fields, **changes})


def figures(macs: int, p50_ms: float, accuracy: float) -> ModelFigures:
    return ModelFigures(
        macs=macs,
        parameters=macs // 100,
        file_bytes=macs // 20,
        weight_bytes=macs // 25,
        peak_activation_bytes=100_000,
        latency=latency(p50_ms),
        metric=metric(accuracy),
    )


def model_record(path: str) -> ModelFile:
    return ModelFile(
        path=path,
        sha256="0" * 64,
        bytes=1000,
        data_files=(FileRecord(name="a.data", bytes=10, sha256="1" * 64),),
        inputs=(ModelInput(name="image", dtype="float32", shape=("batch", 1, 28, 28)),),
        opset=17,
        ir_version=8,
    )


def make_report(**changes: Any) -> Report:
    fields: dict[str, Any] = {
        "onnxprune_version": "0.1.0",
        "operation": "compress",
        "command": "onnxprune compress model.onnx --target-latency 50%",
        "seed": 7,
        "started_at": START,
        "finished_at": START + dt.timedelta(seconds=90.5),
        "duration_s": 90.5,
        "environment": Environment(
            python="3.11.9", platform="Linux", cpu="Some CPU", cores=2, packages={"onnx": "1.23.2"}
        ),
        "settings": {"importance": "taylor", "round_to": None, "input_shapes": {"image": [1, 1, 28, 28]}},
        "model": model_record("model.onnx"),
        "output": model_record("model.pruned.onnx"),
        "target": TargetRecord(kind="latency", requested="50%", value=0.62, unit="ms", achieved=0.6),
        "device": DeviceFigures(
            provider="cpu",
            threads=1,
            batch=1,
            fingerprint={"cpu": "Some CPU", "cores": 2},
            conditions={"celsius": 71.5, "throttled": True},
            busy_s=12.0,
        ),
        "before": figures(31_000_000, 1.24, 92.5),
        "after": figures(12_000_000, 0.6, 92.08),
        "groups": (GroupRecord(name="conv1", producers=("conv1", "conv3"), channels_before=16, channels_after=12),),
        "fixed": (FixedRecord(producer="fc", channels=10, reason="they are the model's output 'scores'"),),
        "verification": VerificationRecord(relative_error=3.1e-7, output="scores", tolerance=1e-4),
        "export_check": ExportCheck(relative_error=2e-6, max_abs=1e-5),
        "training": TrainingRecord(
            epochs=(
                TrainingEpoch(epoch=0, train_loss=None, val_metric=50.0, learning_rate=0.0, elapsed_s=0.0),
                TrainingEpoch(epoch=1, train_loss=float("nan"), val_metric=90.0, learning_rate=0.02, elapsed_s=9.5),
            ),
            best_epoch=1,
            stopped_by="epochs",
            steps=100,
            device="cpu",
        ),
        "search": (SearchProbe(predicted=0.61, measured=0.6, macs=12_000_000),),
        "warnings": ("trained on few pictures",),
    }
    return Report(**{**fields, **changes})
