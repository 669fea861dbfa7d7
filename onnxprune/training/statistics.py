"""Healing without gradients: BatchNorm statistics and convolution biases, from calibration inputs."""

from __future__ import annotations

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


def correct_biases(
    student: nn.Module,
    teacher: nn.Module,
    kept: Mapping[str, NDArray[np.int64]],
    data: Dataset,
    batch_size: int = 256,
) -> int:
    """Shift biases so that every layer's mean output, channel by channel, is the original's again, in place.

    This is what BatchNorm re-estimation does for networks whose BatchNorm is folded. Layers are corrected in
    the order they run, each on inputs that are corrected already.

    Args:
        student: The pruned network.
        teacher: The original; it has layers of the same names.
        kept: For each convolution or linear layer to correct, by module name: the original's output channels
            that the student has.
        data: Calibration samples; one batch is read.
        batch_size: Its size.

    Returns:
        The number of layers corrected: those with a bias, that run once.
    """
    batch = next(data.batches(batch_size))
    device = next((p.device for p in student.parameters()), torch.device("cpu"))
    inputs = [as_tensor(array, device) for array in batch.inputs]
    wanted: dict[str, list[Tensor]] = {}
    with _hooked(teacher, kept, lambda name, _, output: wanted.setdefault(name, []).append(_means(output))):
        _run_once(teacher, inputs)
    corrected: list[str] = []

    def correct(name: str, layer: nn.Module, output: Tensor) -> Tensor:
        bias = layer.bias
        if not isinstance(bias, Tensor) or output.shape[1] != len(bias) or len(wanted.get(name, [])) != 1:
            return output
        shift = wanted[name][0][torch.as_tensor(kept[name], device=device)] - _means(output)
        bias.data += shift
        corrected.append(name)
        return output + shift.reshape(1, -1, *[1] * (output.ndim - 2))

    with _hooked(student, kept, correct):
        _run_once(student, inputs)
    return len(corrected)


def _run_once(module: nn.Module, inputs: list[Tensor]) -> None:
    with evaluating(module), torch.no_grad():
        forward(module, inputs)


def _means(output: Tensor) -> Tensor:
    """Average over samples and positions: (n, C, ...) -> (C,)."""
    return output.mean(dim=[axis for axis in range(output.ndim) if axis != 1])


@contextmanager
def _hooked(
    module: nn.Module,
    names: Mapping[str, Any],
    act: Callable[[str, nn.Module, Tensor], Tensor | None],
) -> Iterator[None]:
    """Call `act` on name, layer and output of named layers with weights; its result replaces the output."""
    handles = [
        part.register_forward_hook(lambda layer, _, output, name=name: act(name, layer, output))
        for name, part in module.named_modules()
        if name in names and isinstance(part, nn.modules.conv._ConvNd | nn.Linear)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
