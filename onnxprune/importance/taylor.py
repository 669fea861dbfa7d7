"""First-order Taylor: what the loss changes by when a slice becomes zero (Molchanov et al. 2019, equation 8).

    score(slice) = mean over batches of |sum over the slice of w * dL/dw|

With labels, L is the cross-entropy of the first output that holds class scores. Without, the gradient of the distance
to the network's own outputs would be zero, so classes are drawn from the network's own prediction (the loss of the
Fisher information), and other outputs y are projected on a random direction d: L = y.d / |y|. Outputs add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxprune.errors import CriterionError
from onnxprune.graph import in_float32
from onnxprune.importance.registry import CalibrationBatch, Criterion, CriterionInputs, SliceScores, register
from onnxprune.importance.weights import Weight, over_other_axes, weights

if TYPE_CHECKING:
    import torch

    from onnxprune.torch_bridge import OnnxModule

_SMALLEST_PROBABILITY = 1e-6


def _first_order(inputs: CriterionInputs) -> Iterator[SliceScores]:
    from onnxprune.torch_bridge import to_torch

    module = to_torch(in_float32(inputs.model))
    parameters = {module.weight_names[name]: p for name, p in module.named_parameters() if name in module.weight_names}
    scored = [weight for weight in weights(inputs.model, inputs.channels) if weight.name in parameters]
    if not scored:
        raise CriterionError(
            "importance 'taylor' needs weights with a gradient, and no removable channel of the model has one "
            "(quantised weights have none); use l1 or reader_l1"
        )
    sums = _summed_changes(module, {weight.name: parameters[weight.name] for weight in scored}, scored, inputs)
    for weight in scored:
        for axis in weight.axes:
            # What no gradient reaches (a branch behind ArgMax) is not seen, which is not to say that it is dead.
            if (weight.name, axis.axis) in sums:
                yield SliceScores(f"'{weight.name}', axis {axis.axis}", axis.units, sums[weight.name, axis.axis])


def _summed_changes(
    module: OnnxModule, parameters: dict[str, torch.nn.Parameter], scored: Sequence[Weight], inputs: CriterionInputs
) -> dict[tuple[str, int], np.ndarray]:
    """Sum, over the batches, how much each slice of each weight that has a gradient changes the loss."""
    import torch

    sums: dict[tuple[str, int], np.ndarray] = {}
    generator = torch.Generator().manual_seed(inputs.seed)
    batches = inputs.calibration or ()
    for done, batch in enumerate(batches, start=1):
        outputs = module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in batch.inputs))
        loss = _loss(outputs, batch, generator)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for weight, parameter, gradient in zip(scored, parameters.values(), gradients, strict=True):
            if gradient is None:
                continue
            product = (gradient * parameter).detach().float().numpy()
            for axis in weight.axes:
                change = product.sum(axis=over_other_axes(product, axis.axis))
                sums[weight.name, axis.axis] = sums.get((weight.name, axis.axis), 0.0) + np.abs(change)
        if inputs.on_batch is not None:
            inputs.on_batch(done, len(batches))
    return sums


def _loss(outputs: tuple[torch.Tensor, ...], batch: CalibrationBatch, generator: torch.Generator) -> torch.Tensor:
    import torch
    from torch.nn import functional

    terms: list[torch.Tensor] = []
    labels = None if batch.labels is None else torch.from_numpy(np.asarray(batch.labels, dtype=np.int64))
    for output in (y.float() for y in outputs if y.is_floating_point()):
        if output.ndim != 2 or output.shape[1] < 2:
            direction = torch.randn(output.shape, generator=generator)
            terms.append((output * direction).sum() / (output.detach().norm() + 1e-12))
            continue
        logits = _logits(output)
        if not bool(torch.isfinite(logits).all()):
            raise CriterionError(
                "importance 'taylor': the network's class scores on the calibration samples are not finite; check the "
                "data and its preprocessing, or use l1 or reader_l1"
            )
        drawn = torch.multinomial(logits.detach().softmax(dim=1), 1, generator=generator)[:, 0]
        terms.append(functional.cross_entropy(logits, drawn if labels is None else _checked(labels, logits)))
        labels = None
    if not terms or not any(term.requires_grad for term in terms):
        raise CriterionError(
            "importance 'taylor' needs an output with a gradient, and all outputs of the model are integers or "
            "constants; use l1 or reader_l1"
        )
    return torch.stack(terms).sum()


def _logits(scores: torch.Tensor) -> torch.Tensor:
    """Return class scores as logits; rows that are probabilities already are taken to logarithms."""
    values = scores.detach()
    if bool((values >= 0).all()) and bool(((values.sum(dim=1) - 1).abs() < 1e-3).all()):
        return scores.clamp(min=_SMALLEST_PROBABILITY).log()
    return scores


def _checked(labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    classes = logits.shape[1]
    if bool((labels < 0).any()) or bool((labels >= classes).any()):
        raise CriterionError(
            f"importance 'taylor': the labels go from {int(labels.min())} to {int(labels.max())}, but the model has "
            f"{classes} classes, 0 to {classes - 1}; check the data, or give it without labels"
        )
    return labels


register(Criterion("taylor", "first-order change of the loss", "data", _first_order))
