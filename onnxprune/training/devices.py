"""Running networks in PyTorch: the device, the memory format, arrays in and out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from onnxprune.errors import DeviceError
from onnxprune.training.dataset import AnyArray, Batch
from onnxprune.training.metrics import Predict


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one.

    Raises:
        DeviceError: This machine or this PyTorch has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"PyTorch cannot train on '{name}' here: {reason}; use cpu or auto") from error
    return device


def as_tensor(array: AnyArray, device: torch.device) -> Tensor:
    """Move an array to a device; four axes become channels-last, on which convolutions run fastest."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def batch_tensors(batch: Batch, device: torch.device) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Move a batch to a device: its inputs and its labels."""
    labels = None if batch.labels is None else torch.from_numpy(batch.labels).to(device)
    return tuple(as_tensor(array, device) for array in batch.inputs), labels


def forward(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run a module; a single tensor that it returns counts as a tuple of one."""
    outputs = module(*inputs)
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def module_predict(module: nn.Module, device: torch.device | None = None) -> Predict:
    """Make a function on arrays of a module: it runs in evaluation mode and without gradients.

    Args:
        module: The network; its training mode is restored after each call.
        device: Where it lies; None: where its first parameter is.
    """

    def run(inputs: tuple[AnyArray, ...]) -> list[AnyArray]:
        place = device or next((p.device for p in module.parameters()), torch.device("cpu"))
        with torch.no_grad(), evaluating(module):
            outputs = forward(module, [as_tensor(array, place) for array in inputs])
        return [o.float().cpu().numpy() if o.is_floating_point() else o.cpu().numpy() for o in outputs]

    return run


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and every part of it back into its own after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def placed(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Move modules to a device in channels-last format, and back to where they were after."""
    homes = [next((p.device for p in module.parameters()), torch.device("cpu")) for module in modules]
    for module in modules:
        _arrange(module.to(device), torch.channels_last)
    try:
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            _arrange(module, torch.contiguous_format)
            module.to(home)


def _arrange(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Lay out weights of four axes; `Module.to` would fail on those of five, of 3-D convolutions."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=memory_format)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's random numbers, and restore their state after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
