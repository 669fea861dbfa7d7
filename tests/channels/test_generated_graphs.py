"""Whatever goes, whole branches too: removal equals silencing, and the original stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxprune.channels import analyse, find_branches, prune, verify
from onnxprune.graph import graph_cost, load, save, to_bytes
from tests.channels.network_strategy import networks

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def check_removal(proto: onnx.ModelProto, seed: int, share: float, folder: Path) -> None:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    model = load(path)
    before = to_bytes(model)
    channels = analyse(model)
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < share
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    for branch in find_branches(model, channels).values():
        if rng.random() < 0.5:
            for index in branch.groups:
                keep[channels.groups[index].units] = False
    pruned = prune(model, channels, keep)
    assert to_bytes(model) == before
    save(pruned, folder / "pruned.onnx")
    again = load(folder / "pruned.onnx")
    verify(model, channels, keep, again, seed=seed)
    assert graph_cost(again).parameters <= graph_cost(model).parameters


@given(proto=networks(), seed=st.integers(0, 9), share=st.floats(0.1, 0.9))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=SLOW_IS_FINE)
def test_removal_equals_silencing(
    proto: onnx.ModelProto, seed: int, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_removal(proto, seed, share, tmp_path_factory.mktemp("generated"))


@pytest.mark.nightly
@given(proto=networks(), seed=st.integers(0, 9), share=st.floats(0.1, 0.9))
@settings(max_examples=2000, deadline=None, suppress_health_check=SLOW_IS_FINE)
def test_removal_equals_silencing_of_many(
    proto: onnx.ModelProto, seed: int, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_removal(proto, seed, share, tmp_path_factory.mktemp("generated"))
