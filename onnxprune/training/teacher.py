"""The original network's outputs, computed once where they fit into memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from onnxprune.training.dataset import AnyArray, Batch, Dataset
from onnxprune.training.devices import evaluating, forward, module_predict
from onnxprune.training.metrics import Predict, collect, sized

TEACHER_BATCH = 64


class Teacher:
    """Gives the original's outputs for a batch of training samples.

    Args:
        network: A module, or a function on arrays such as an onnxruntime session's.
        data: The training samples.
        device: Where the outputs are needed.
        cache_bytes: Outputs of all samples are computed once, at the first use, if they take at most this
            much.
        changing: The inputs are changed at random, so nothing can be kept.
        fixed_batch: The only batch size that the network can run, None for any.
    """

    def __init__(
        self,
        network: nn.Module | Predict,
        data: Dataset,
        device: torch.device,
        *,
        cache_bytes: int,
        changing: bool,
        fixed_batch: int | None = None,
    ) -> None:
        self._module = network if isinstance(network, nn.Module) else None
        predict: Predict = module_predict(network) if isinstance(network, nn.Module) else network
        self.predict: Predict = sized(predict, fixed_batch)
        self._device = device
        self.sample_outputs = self._first_outputs(data)
        self._cache: list[Tensor] | None = None
        if not changing and self.fits(data, cache_bytes):
            self._cache = [torch.from_numpy(o).to(device) for o in collect(self.predict, data, TEACHER_BATCH)]

    def outputs(self, batch: Batch, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for a batch, `inputs` being its tensors as the student gets them."""
        if self._cache is not None:
            positions = torch.from_numpy(batch.positions).to(self._device)
            return tuple(output[positions] for output in self._cache)
        if self._module is not None:
            with torch.no_grad(), evaluating(self._module):
                return forward(self._module, inputs)
        arrays = tuple(np.ascontiguousarray(t.cpu().numpy()) for t in inputs)
        return tuple(torch.from_numpy(np.asarray(o)).to(self._device) for o in self.predict(arrays))

    def _first_outputs(self, data: Dataset) -> list[AnyArray]:
        first = next(data.batches(TEACHER_BATCH))
        return [np.asarray(o) for o in self.predict(first.inputs)]

    def fits(self, data: Dataset, cache_bytes: int) -> bool:
        """Whether every output has one row a sample, and all of them fit."""
        rows = min(len(data), TEACHER_BATCH)
        if any(o.ndim == 0 or len(o) != rows for o in self.sample_outputs):
            return False
        return sum(o.nbytes for o in self.sample_outputs) / rows * len(data) <= cache_bytes
