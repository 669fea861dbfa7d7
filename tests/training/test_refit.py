"""Layers solved again on what the healed network before them gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from onnxprune.healing import SolvableLayer
from onnxprune.training import Matcher, Refit, open_data
from tests.training.test_matching import pruned_pair

SECOND = SolvableLayer("n", "s", "t", "w", 0, "b", 1.0, (3, 3), (1, 1), (0, 0), (1, 1))


@pytest.fixture
def data(grey):
    x = np.random.default_rng(0).normal(0.0, 1.0, (400, 1, 8, 8)).astype(np.float32)
    return open_data(x, *grey, None, 0).train


def error(ours, theirs, x):
    with torch.no_grad():
        return float((ours(x) - theirs(x)).norm() / theirs(x).norm())


def test_a_layer_makes_up_for_what_the_one_before_it_does(data):
    torch.manual_seed(0)

    def layers():
        return [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3)]

    original, changed = nn.Sequential(*layers()), nn.Sequential(*layers())
    changed.load_state_dict(original.state_dict())
    with torch.no_grad():
        for parameter in changed[0].parameters():
            parameter.mul_(2)
        changed[2].weight.mul_(0.3)
    x = torch.from_numpy(next(data.batches(100)).inputs[0])
    refit = Refit({"2.weight": SECOND}, {"2.weight": "2.bias"}, seed=0)
    assert refit.solve("2.weight", changed[2].weight, changed, x, np.arange(5)) is False
    Matcher(original, {"2.weight": np.arange(5)}, data, refit=refit).correct(changed, {"2.weight": np.arange(5)})
    # Half of the weights is the answer; the ridge keeps it a little from there.
    assert error(changed, original, x) < 0.05


def test_it_is_better_than_statistics_alone(data):
    x = torch.from_numpy(next(data.batches(300)).inputs[0])
    errors = []
    for refit in (None, Refit({"2.weight": SECOND}, {"2.weight": "2.bias"}, seed=0)):
        original, pruned, kept = pruned_pair()
        Matcher(original, kept, data, refit=refit).correct(pruned, kept)
        errors.append(error(pruned[:3], original[:3], x))
    assert errors[1] < 0.9 * errors[0]
