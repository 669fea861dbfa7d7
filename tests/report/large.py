"""A report as large as that of a run on a ResNet-50: every chart of the page has figures."""

from __future__ import annotations

import numpy as np

from onnxprune.report import LayerRecord, LearningRecord, Report, StageRecord, StepTime
from onnxprune.report.figures import LatencyFigures
from onnxprune.report.schema import GroupRecord, JudgedStructure, SearchProbe, TrainingEpoch, TrainingRecord
from tests.report.records import latency, make_report


def large_report(judged: int = 160, layers: int = 53) -> Report:
    rng = np.random.default_rng(0)
    groups = tuple(
        GroupRecord(
            name=f"/layer{i}/conv/Conv",
            producers=(f"/layer{i}/conv/Conv",),
            channels_before=256,
            channels_after=32 * i % 256,
        )
        for i in range(1, 41)
    )
    chosen = tuple(group.channels_after for group in groups)
    base = make_report()
    return make_report(
        before=base.before.model_copy(update={"latency": samples(rng, 40.0)}),
        after=base.after.model_copy(update={"latency": samples(rng, 20.0)}),
        groups=groups,
        layers=tuple(layer(i) for i in range(layers)),
        learning=search(rng, judged, chosen),
        training=training(30),
        stages=tuple(
            StageRecord(cost=cost, channels=chosen, training=training(30), learning=search(rng, judged, chosen))
            for cost in (0.9, 0.6)
        ),
        search=tuple(SearchProbe(predicted=p, measured=p * 1.02, macs=10**9) for p in (0.6, 0.7, 0.8, 0.9)),
        steps=tuple(StepTime(name=f"step {i}", seconds=2.0**i) for i in range(12)),
    )


def samples(rng: np.random.Generator, p50_ms: float) -> LatencyFigures:
    runs = tuple(tuple((p50_ms + rng.gamma(2, 0.2, 1000)).round(4).tolist()) for _ in range(5))
    return latency(p50_ms).model_copy(update={"samples_ms": runs})


def layer(number: int) -> LayerRecord:
    stairs = tuple((count, 0.001 * -(-count // 16) * (number + 1)) for count in range(8, 257, 8))
    return LayerRecord(
        name=f"/layer{number}/conv/Conv",
        op="Conv",
        channels_before=(256, 256),
        channels_after=None if number == 3 else (128, 96),
        before_ms=0.5 + 0.1 * number,
        after_ms=None if number == 3 else 0.2,
        staircase=stairs,
    )


def search(rng: np.random.Generator, count: int, chosen: tuple[int, ...]) -> LearningRecord:
    def judge(index: int) -> JudgedStructure:
        source = ("global", "uniform")[index] if index < 2 else "rl"
        channels = chosen if index == count - 1 else tuple(rng.integers(8, 256, len(chosen)).tolist())
        metric = 70 + 10 * (1 - np.exp(-index / 30)) + rng.normal()
        cost = 0.6 + 0.02 * rng.random()
        return JudgedStructure(
            round=0 if index < 2 else 1 + index // 8,
            source=source,
            channels=channels,
            reward=metric - 1,
            metric=metric,
            samples=1000,
            cost=cost,
            elapsed_s=float(index),
        )

    return LearningRecord(agent="rl", stopped_by="evaluations", judged=tuple(judge(i) for i in range(count)))


def training(epochs: int) -> TrainingRecord:
    return TrainingRecord(
        epochs=tuple(
            TrainingEpoch(
                epoch=e,
                train_loss=None if e == 0 else 1 / e,
                val_metric=70 + e / 5,
                learning_rate=0.01,
                elapsed_s=9.0 * e,
            )
            for e in range(epochs + 1)
        ),
        best_epoch=epochs,
        stopped_by="epochs",
        steps=1000,
        device="cpu",
    )
