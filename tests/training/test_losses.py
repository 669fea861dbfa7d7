"""The loss of distillation."""

from __future__ import annotations

import pytest
import torch

from onnxprune.training.losses import DistillLoss


def test_batches_whose_outputs_are_all_zeros_have_a_loss_of_the_others_size():
    loss = DistillLoss(("values",), 4.0, 0.9, 1.0, (1.0,))
    empty, full = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    error = 0.1 * torch.ones(1, 1, 8, 8)
    assert float(loss([full + error], [full], None)) == pytest.approx(0.01)
    assert float(loss([empty + error], [empty], None)) == pytest.approx(1.0)
