"""Whatever goes, whole branches too: removal equals silencing, the original stays as it was, and wrong units show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from onnxprune.channels import analyse, find_branches, prune, verify
from onnxprune.channels.running import run_model
from onnxprune.channels.verification import relative_error
from onnxprune.errors import VerificationError
from onnxprune.graph import graph_cost, load, output_names, random_inputs, resolve_input_shapes, save, to_bytes
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


def check_wrong_unit(proto: onnx.ModelProto, seed: int, folder: Path) -> None:
    onnx.save(proto, folder / "model.onnx")
    model = load(folder / "model.onnx")
    channels = analyse(model)
    several = [group for group in channels.groups if group.size > 1]
    assume(several)
    rng = np.random.default_rng(seed)
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    first, second = rng.choice(several[rng.integers(len(several))].units, 2, replace=False)
    keep[first] = other[second] = False
    right, wrong = prune(model, channels, keep), prune(model, channels, other)
    feeds = random_inputs(model, resolve_input_shapes(model, batch=2), seed)
    outputs = [run_model(network, feeds, output_names(model)) for network in (right, wrong)]
    # Below, it may be rounding; and of what is dead nothing shows anywhere.
    assume(any(relative_error(a, b) > 1e-5 for a, b in zip(*outputs, strict=True)))
    with pytest.raises(VerificationError):
        verify(model, channels, keep, wrong, seed=seed)


@given(proto=networks(), seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=SLOW_IS_FINE)
def test_a_wrong_unit_is_noticed(proto: onnx.ModelProto, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_wrong_unit(proto, seed, tmp_path_factory.mktemp("wrong"))


@pytest.mark.nightly
@given(proto=networks(), seed=st.integers(0, 9), share=st.floats(0.1, 0.9))
@settings(max_examples=2000, deadline=None, suppress_health_check=SLOW_IS_FINE)
def test_removal_equals_silencing_of_many(
    proto: onnx.ModelProto, seed: int, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_removal(proto, seed, share, tmp_path_factory.mktemp("generated"))


@pytest.mark.nightly
@given(proto=networks(), seed=st.integers(0, 9))
@settings(max_examples=1000, deadline=None, suppress_health_check=SLOW_IS_FINE)
def test_a_wrong_unit_of_many_is_noticed(
    proto: onnx.ModelProto, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_wrong_unit(proto, seed, tmp_path_factory.mktemp("wrong"))
