"""Healing without gradients: BatchNorm statistics from calibration inputs."""

from __future__ import annotations

import torch
from torch import nn

from onnxprune.training.dataset import Dataset
from onnxprune.training.devices import as_tensor, evaluating, forward

_BatchNorm = nn.modules.batchnorm._BatchNorm


def reestimate_batchnorm(module: nn.Module, data: Dataset, batches: int = 16, batch_size: int = 64) -> int:
    """Set every BatchNorm's running statistics to their average over calibration batches, in place.

    Args:
        module: The network; nothing but the running statistics changes.
        data: Calibration samples, read in order.
        batches: At most this many batches are read.
        batch_size: Samples a batch.

    Returns:
        The number of BatchNorm layers updated; 0 for a network without any, which is left alone.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with evaluating(module), torch.no_grad():
        module.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over the batches
            norm.train()
        for number, batch in enumerate(data.batches(batch_size, drop_last=True)):
            if number == batches:
                break
            forward(module, [as_tensor(array, device) for array in batch.inputs])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return len(norms)
