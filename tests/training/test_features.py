"""Distillation by what layers inside give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from onnxprune.training import DistillConfig, distil, open_data
from tests.training.test_matching import pruned_pair


class Wrapped(nn.Module):
    """Returns a tuple of outputs, as converted networks do."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return (self.layers(x),)


def inner_error(student, teacher, rows, x):
    with torch.no_grad():
        ours, theirs = student.layers[0](x), teacher.layers[0](x)[:, rows]
    return float((ours - theirs).square().sum() / theirs.square().sum())


@pytest.mark.slow
def test_layers_inside_come_closer(grey):
    x = np.random.default_rng(0).normal(0.0, 1.0, (256, 1, 8, 8)).astype(np.float32)
    data = open_data(x, *grey, None, 0)
    errors = {}
    for weight in (0.0, 10.0):
        original, pruned, *_ = pruned_pair()
        teacher, student = Wrapped(original), Wrapped(pruned)
        with torch.no_grad():
            student.layers[0].weight.mul_(0.3)
        rows = np.array([0, 2, 5])
        kept = {"layers.0.weight": rows, "layers.2.weight": np.arange(5)}
        config = DistillConfig(epochs=4, feature_weight=weight, batch_size=16, learning_rate=0.005)
        distil(student, teacher, data.train, None, config, kept=kept)
        errors[weight] = inner_error(student, teacher, rows, torch.from_numpy(x))
    assert errors[10.0] < 0.5 * errors[0.0]


@pytest.mark.slow
def test_networks_that_share_no_layer_learn_from_outputs_alone(grey):
    x = np.random.default_rng(0).normal(0.0, 1.0, (64, 1, 8, 8)).astype(np.float32)
    data = open_data(x, *grey, None, 0)
    results = []
    for weight in (0.0, 1.0):
        original, pruned, *_ = pruned_pair()
        config = replace(DistillConfig(epochs=1, batch_size=16), feature_weight=weight)
        distil(Wrapped(pruned), Wrapped(original), data.train, None, config, kept={})
        results.append(pruned[0].weight.detach().clone())
    # The teacher runs in batches of another size where features are compared.
    assert torch.allclose(*results, atol=1e-5)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="feature_weight"):
        DistillConfig(feature_weight=-1.0)


def test_networks_of_products_are_compared_inside_and_what_cannot_be_is_told(grey):
    x = np.random.default_rng(0).normal(0.0, 1.0, (64, 1, 8, 8)).astype(np.float32)
    data = open_data(x, *grey, None, 0)

    def pair():
        torch.manual_seed(0)
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 4))
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 4))
        return Wrapped(student), Wrapped(teacher)

    config = DistillConfig(epochs=1, feature_weight=1.0, batch_size=16)
    losses = {}
    for name, kept in {"kept": {"layers.1.weight": np.array([0, 2, 5])}, "none": {}}.items():
        student, teacher = pair()
        history = distil(student, teacher, data.train, None, config, kept=kept)
        losses[name] = history.records[-1].train_loss
        assert bool(history.notes) == (name == "none")
    assert losses["kept"] > losses["none"] + 0.1
