"""Records made of what the layers below return."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import analyse
from onnxprune.graph import graph_cost, load
from onnxprune.latency.stats import summarise
from onnxprune.report import assembly, environment, model_figures, model_file
from onnxprune.search.target import parse_latency, ratio_target
from onnxprune.training import DistillConfig, EpochRecord, Metrics, TrainingHistory
from tests.report.conftest import small_cnn


def test_model_file(cnn_path: Path) -> None:
    record = model_file(cnn_path, load(cnn_path))
    assert record.sha256 == hashlib.sha256(cnn_path.read_bytes()).hexdigest()
    assert record.bytes == cnn_path.stat().st_size
    assert record.inputs[0].shape == ("N", 3, 8, 8)
    assert (record.opset, record.ir_version, record.data_files) == (17, 8, ())


def test_model_file_counts_external_data(tmp_path: Path) -> None:
    path = tmp_path / "external.onnx"
    onnx.save(small_cnn(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    record = model_file(path, load(path))
    (data,) = record.data_files
    assert data.name == "weights.bin"
    assert data.sha256 == hashlib.sha256((tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert record.bytes == path.stat().st_size + data.bytes
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_model_figures(cnn_path: Path) -> None:
    cost = graph_cost(load(cnn_path))
    stats = summarise([[1.00004, 1.0, 1.0], [1.1, 1.1, 1.1]])
    metrics = Metrics("top-1", 90.0, 10, top1=90.0, kl=float("inf"), errors=(0.5, None))
    measured = assembly.latency_figures(stats, {"image": (2, 3, 8, 8)})
    figures = model_figures(cost, 1234, measured, assembly.metric_figures(metrics, "test"))
    assert (figures.macs, figures.parameters, figures.file_bytes) == (cost.macs, cost.parameters, 1234)
    assert figures.latency is not None
    assert figures.latency.p50_ms == pytest.approx(1.05)
    assert figures.latency.samples_ms == ((1.0, 1.0, 1.0), (1.1, 1.1, 1.1))
    assert figures.latency.input_shapes == {"image": (2, 3, 8, 8)}
    assert figures.metric is not None
    assert (figures.metric.part, figures.metric.kl, figures.metric.errors) == ("test", None, (0.5, None))


def test_groups_before_and_after(cnn_path: Path) -> None:
    channels = analyse(load(cnn_path))
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[1].units[:8]] = False
    records = assembly.group_records(channels, keep)
    assert [(r.channels_before, r.channels_after) for r in records] == [(16, 16), (24, 16)]
    assert records[1].producers == ("second", "depthwise")
    (fixed,) = assembly.fixed_records(channels)
    assert fixed.producer == "classifier"


def test_targets() -> None:
    relative = assembly.target_record(parse_latency("60%"), original=20.0, achieved=11.8)
    assert (relative.requested, relative.value, relative.unit, relative.achieved) == ("60%", 12.0, "ms", 11.8)
    ratio = assembly.target_record(ratio_target(0.3), original=1000.0, achieved=0.29)
    assert (ratio.kind, ratio.value, ratio.achieved) == ("ratio", 0.3, 0.29)


def test_training_history() -> None:
    val = Metrics("top-1", 88.0, 10)
    history = TrainingHistory(
        records=(EpochRecord(0, 0.0, 0.0, None, val, 0.0), EpochRecord(1, 1.0, 0.02, 0.5, None, 3.21)),
        best_epoch=1,
        stopped_by="epochs",
        steps=10,
        device="cpu",
        config=DistillConfig(epochs=1, augment=("flip",)),
        notes=("a note",),
    )
    record = assembly.training_record(history)
    assert [(e.train_loss, e.val_metric) for e in record.epochs] == [(None, 88.0), (0.5, None)]
    assert record.settings["augment"] == ["flip"]
    assert record.notes == ("a note",)


def test_environment_names_the_packages() -> None:
    found = environment()
    assert found.packages["onnx"] == onnx.__version__
    assert found.cores >= 1
    assert found.python.count(".") == 2


@pytest.mark.parametrize(
    ("macs", "expected"), [(20, [False, False, True]), (30, [False, True, False]), (9, [False] * 3)]
)
def test_of_what_a_search_measured_the_delivered_structure_is_marked(macs: int, expected: list[bool]) -> None:
    probes = assembly.search_probes("latency", [(1.0, 1.1, 20), (1.2, 1.2, 30), (1.0, 1.05, 20)], macs)
    assert [probe.delivered for probe in probes] == expected
