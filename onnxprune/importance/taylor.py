"""First-order Taylor: what the loss changes by when a slice becomes zero (Molchanov et al. 2019, equation 8).

score(slice) = mean over batches of |sum over the slice of w * dL/dw|

With labels, L is the cross-entropy. Without, the gradient of the distance to the network's own outputs would be zero,
so classes are drawn from the network's own prediction (the Fisher information's loss), and other outputs are
projected on a random direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxprune.importance.criteria import (
    CalibrationBatch,
    Criterion,
    CriterionInputs,
    SliceScores,
    labelled_weights,
    over_other_axes,
    register,
)

if TYPE_CHECKING:
    import torch


def _first_order(inputs: CriterionInputs) -> Iterator[SliceScores]:
    import torch

    from onnxprune.torch_bridge import to_torch

    module = to_torch(inputs.model).eval()
    parameters = {module.weight_names[name]: p for name, p in module.named_parameters() if name in module.weight_names}
    generator = torch.Generator().manual_seed(inputs.seed)
    weights = [(name, labelled) for name, _, labelled in labelled_weights(inputs) if name in parameters]
    sums: dict[tuple[str, int], np.ndarray] = {}
    for batch in inputs.calibration or ():
        loss = _loss(module(*(torch.from_numpy(np.ascontiguousarray(x)) for x in batch.inputs)), batch, generator)
        gradients = torch.autograd.grad(loss, [parameters[name] for name, _ in weights], allow_unused=True)
        for (name, labelled), gradient in zip(weights, gradients, strict=True):
            if gradient is None:
                continue
            product = (gradient * parameters[name]).detach().numpy()
            for axis, _ in labelled:
                score = np.abs(product.sum(axis=over_other_axes(product, axis)))
                sums[name, axis] = sums.get((name, axis), 0) + score
    for name, labelled in weights:
        for axis, units in labelled:
            if (name, axis) in sums:
                yield SliceScores(units, sums[name, axis])


def _loss(outputs: tuple[Any, ...], batch: CalibrationBatch, generator: torch.Generator) -> torch.Tensor:
    import torch
    from torch.nn import functional

    total = torch.zeros(())
    for output in outputs:
        if not output.is_floating_point():
            continue
        if output.ndim == 2 and output.shape[1] >= 2:
            labels = None if batch.labels is None else torch.from_numpy(np.ascontiguousarray(batch.labels))
            if labels is None:
                labels = torch.multinomial(output.detach().softmax(dim=1), 1, generator=generator)[:, 0]
            total = total + functional.cross_entropy(output, labels)
        else:
            direction = torch.randn(output.shape, generator=generator)
            total = total + (output * direction).sum() / (output.detach().norm() + 1e-12)
    return total


register(Criterion("taylor", "first-order change of the loss", "data", _first_order))
