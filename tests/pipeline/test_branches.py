"""Whole runs in which a branch goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.graph import load
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
