"""Whether the module of a network that was exported for one batch size runs others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch

from onnxprune.errors import ConversionError
from onnxprune.graph import for_any_batch, random_inputs, resolve_input_shapes
from onnxprune.torch_bridge.conversion import to_torch
from onnxprune.torch_bridge.module import OnnxModule

_TOLERANCE = 1e-4


def runs_any_batch(model: ir.Model, batch: int) -> bool:
    """Compare two batches through `for_any_batch` of a model at once with each of them through the model.

    Args:
        model: A loaded float32 model.
        batch: The first size of its inputs.
    """
    shapes = resolve_input_shapes(model)
    feeds = [random_inputs(model, shapes, seed) for seed in (0, 1)]
    joined = {
        name: np.concatenate([some[name] for some in feeds]) if shape[:1] == (batch,) else feeds[0][name]
        for name, shape in shapes.items()
    }
    feeds[1] = {name: feeds[1][name] if shape[:1] == (batch,) else feeds[0][name] for name, shape in shapes.items()}
    try:
        parts = _outputs(to_torch(model), feeds)
        (whole,) = _outputs(to_torch(for_any_batch(model, batch)), [joined])
    except (ConversionError, RuntimeError, IndexError, ValueError, TypeError):
        # What ties the graph to its batch shows as sizes that do not fit.
        return False
    return all(_same(apart, together) for *apart, together in zip(*parts, whole, strict=True))


def _outputs(module: OnnxModule, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[tuple[torch.Tensor, ...]]:
    with torch.inference_mode():
        return [module(*(torch.from_numpy(np.array(some[name])) for name in module.input_names)) for some in feeds]


def _same(apart: Sequence[torch.Tensor], together: torch.Tensor) -> bool:
    if together.ndim == 0:
        # A single number says nothing of single samples.
        return True
    joined = torch.cat(list(apart)).double()
    if joined.shape != together.shape:
        return False
    return joined.numel() == 0 or bool((joined - together).abs().max() <= _TOLERANCE * joined.abs().max())
