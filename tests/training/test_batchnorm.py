from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from onnxprune.training import open_data, reestimate_batchnorm


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
