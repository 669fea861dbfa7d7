"""Whole runs in which a branch goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.graph import load
from onnxprune.pipeline.branches import with_branches
from onnxprune.pipeline.prepare import read_network
from onnxprune.search.problem import Subject, paper_problem
from onnxprune.training import open_data
from tests.pipeline.test_run import pictures
from tests.residual import residual_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "residual.onnx"
    onnx.save(residual_cnn(second=0.05), path)
    return path


@pytest.mark.parametrize("allocation", ["global", "rl"])
def test_a_block_that_does_little_goes(model: Path, allocation: str) -> None:
    options = {"target_macs": "45%", "data": pictures(200)[0], "round_to": 4, "heal": True}
    result = onnxprune.prune(model, allocation=allocation, search_budget=8, **options)
    after = {group.name: group.channels_after for group in result.report.groups}
    assert after["up2"] == 0
    assert {"up2", "down2", "act2"}.isdisjoint(str(node.name) for node in load(result.output).graph)
    assert result.report.after.metric is not None
    assert result.report.after.metric.value > 80
    kept = onnxprune.prune(model, allocation=allocation, search_budget=8, branches=False, **options)
    assert all(group.channels_after > 0 for group in kept.report.groups)


@pytest.mark.slow
def test_a_network_without_its_block_trains_and_is_pruned_further(model: Path) -> None:
    x, y = pictures(200)
    report = onnxprune.compress(
        model, data=(x, y), target_macs="20%", epochs=2, batch_size=16, round_to=4, stages=2, allocation="global"
    ).report
    assert 0 in report.stages[0].channels
    assert report.export_check is not None
    assert report.export_check.relative_error < 1e-4
    assert report.training is not None
    losses = [epoch.train_loss for epoch in report.training.epochs if epoch.train_loss is not None]
    assert np.isfinite(losses).all()
    assert report.target.achieved <= report.target.value


def test_what_a_block_adds_is_told_from_samples_one_at_a_time(model: Path) -> None:
    network = read_network(model, None, 1)
    x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    data = open_data(x, network.inputs, network.input_shapes, None, 0).train
    subject = Subject(network.model, network.channels, network.shapes, np.ones(network.channels.unit_count))
    problem = paper_problem(subject, 1)
    stakes = [with_branches(problem, network, list(data.batches(size))).stakes for size in (1, 32)]
    assert stakes[0] == pytest.approx(stakes[1], rel=1e-6)
