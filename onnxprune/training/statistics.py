"""Healing without gradients: the statistics of BatchNorm, and of layers without one, on calibration inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxprune.training.dataset import Dataset
from onnxprune.training.devices import as_tensor, evaluating, forward

_BatchNorm = nn.modules.batchnorm._BatchNorm
_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


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


def match_statistics(
    student: nn.Module,
    teacher: nn.Module,
    kept: Mapping[str, NDArray[np.int64]],
    data: Dataset,
    batch_size: int = 256,
) -> int:
    """Scale and shift layers so that each channel's mean and deviation are the original's, in place.

    This is what BatchNorm re-estimation does, for networks whose BatchNorm is folded: with m and d the mean
    and deviation of a channel, w <- w d_original / d and b <- (b - m) d_original / d + m_original. Layers are
    corrected in the order they run, each on inputs that are corrected already.

    Args:
        student: The pruned network.
        teacher: The original; it has layers of the same names.
        kept: For each convolution or linear layer to correct, by module name: the original's output channels
            that the student has.
        data: Calibration samples; one batch is read.
        batch_size: Its size.

    Returns:
        The number of layers corrected: those with a bias and a weight of their own that run once.
    """
    batch = next(data.batches(batch_size))
    device = next((p.device for p in student.parameters()), torch.device("cpu"))
    inputs = [as_tensor(array, device) for array in batch.inputs]
    wanted: dict[str, list[tuple[Tensor, Tensor]]] = {}
    with _hooked(teacher, kept, lambda name, _, out: wanted.setdefault(name, []).append(_moments(out))):
        _run_once(teacher, inputs)
    corrected: list[str] = []
    uses = Counter(id(part.weight) for part in student.modules() if isinstance(part, _Layer))

    def correct(name: str, layer: _Layer, output: Tensor) -> Tensor:
        alone = uses[id(layer.weight)] == 1 and len(wanted.get(name, [])) == 1
        if layer.bias is None or output.shape[1] != len(layer.bias) or not alone:
            return output
        rows = torch.as_tensor(kept[name], device=device)
        (mean, deviation), (original_mean, original_deviation) = _moments(output), wanted[name][0]
        scale = _ratio(original_deviation[rows], deviation)
        shift = original_mean[rows] - mean * scale
        layer.weight.data *= _per_row(scale, layer.weight)
        layer.bias.data.mul_(scale).add_(shift)
        corrected.append(name)
        return output * _per_channel(scale, output) + _per_channel(shift, output)

    with _hooked(student, kept, correct):
        _run_once(student, inputs)
    return len(corrected)


def _ratio(wanted: Tensor, got: Tensor) -> Tensor:
    """Return wanted / got, within a factor of ten; 1 for channels that do not vary."""
    return torch.where(got > 1e-6, wanted / got.clamp(min=1e-6), torch.ones_like(got)).clamp(0.1, 10.0)


def _per_row(values: Tensor, weight: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (weight.ndim - 1))


def _per_channel(values: Tensor, output: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (output.ndim - 2))


def _run_once(module: nn.Module, inputs: list[Tensor]) -> None:
    with evaluating(module), torch.no_grad():
        forward(module, inputs)


def _moments(output: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over samples and positions: (n, C, ...) -> (C,), (C,)."""
    axes = [axis for axis in range(output.ndim) if axis != 1]
    return output.mean(dim=axes), output.std(dim=axes, correction=0)


@contextmanager
def _hooked(
    module: nn.Module,
    names: Mapping[str, Any],
    act: Callable[[str, _Layer, Tensor], Tensor | None],
) -> Iterator[None]:
    """Call `act` on name, layer and output of named layers with weights; its result replaces the output."""
    handles = [
        part.register_forward_hook(lambda layer, _, output, name=name: act(name, layer, output))
        for name, part in module.named_modules()
        if name in names and isinstance(part, _Layer)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
