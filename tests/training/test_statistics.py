from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from onnxprune.training import match_statistics, open_data, reestimate_batchnorm


@pytest.fixture
def data(grey):
    x = np.random.default_rng(0).normal(3.0, 2.0, (400, 1, 8, 8)).astype(np.float32)
    return open_data(x, *grey, None, 0).train


def inputs(data):
    return torch.from_numpy(next(data.batches(len(data))).inputs[0])


def test_statistics_become_those_of_the_data(data):
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    network[0].running_mean.fill_(-7)
    weight = network[1].weight.clone()
    assert reestimate_batchnorm(network, data, batches=10, batch_size=32) == 2
    x = inputs(data)
    assert network[0].running_mean.item() == pytest.approx(x.mean().item(), rel=1e-4)
    assert network[0].running_var.item() == pytest.approx(x.var().item(), rel=1e-2)
    hidden = network[1](network[0].eval()(x))
    assert torch.allclose(network[2].running_mean, hidden.mean((0, 2, 3)), atol=0.02)
    assert torch.allclose(network[2].running_var, hidden.var((0, 2, 3)), rtol=0.05)
    assert torch.equal(network[1].weight, weight)
    assert network[2].momentum == 0.1
    assert network[3].training


def test_a_network_without_batchnorm_is_left_alone(data):
    assert reestimate_batchnorm(nn.Conv2d(1, 4, 3), data) == 0


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)
    )


def pruned_pair():
    """A network, and a copy that has lost half of its first layer's channels, with the channels kept by layer."""
    original, pruned = network(), network()
    kept = np.array([0, 2, 5])
    pruned[0] = nn.Conv2d(1, 3, 3)
    pruned[0].load_state_dict({k: v[kept] for k, v in original[0].state_dict().items()})
    pruned[2] = nn.Conv2d(3, 5, 3)
    pruned[2].load_state_dict({"weight": original[2].weight[:, kept], "bias": original[2].bias})
    return original, pruned, {"0": kept, "2": np.arange(5), "5": np.arange(3), "absent": np.arange(1)}


@pytest.mark.parametrize("end", [1, 3, 6])
def test_layers_get_the_original_statistics_again(data, end):
    original, pruned, kept = pruned_pair()
    assert match_statistics(pruned, original, kept, data, batch_size=len(data)) == 3
    x = inputs(data)
    ours, theirs = pruned[:end](x), original[:end](x)
    theirs = theirs[:, kept["0"]] if end == 1 else theirs
    dims = (0, 2, 3) if ours.ndim == 4 else (0,)
    assert torch.allclose(ours.mean(dims), theirs.mean(dims), atol=1e-4)
    assert torch.allclose(ours.std(dims), theirs.std(dims), rtol=1e-3)


def test_the_original_is_not_changed_and_no_hook_stays(data):
    original, pruned, kept = pruned_pair()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    match_statistics(pruned, original, kept, data)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    assert not any(part._forward_hooks for model in (original, pruned) for part in model.modules())


def test_a_shared_weight_is_left_alone(data):
    original, pruned = network(), network()
    with torch.no_grad():
        pruned[0].weight *= 2
    pruned[0].second = nn.Conv2d(1, 6, 3)
    pruned[0].second.weight = pruned[0].weight
    assert match_statistics(pruned, original, {"0": np.arange(6)}, data) == 0


def test_a_layer_without_bias_is_skipped(data):
    original, pruned = nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(1, 2, 3, bias=False)
    assert match_statistics(nn.Sequential(pruned), nn.Sequential(original), {"0": np.arange(2)}, data) == 0
