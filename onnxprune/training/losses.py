"""The loss of distillation.

For every output with t the original's and s the student's, and c(x) = x - mean of its row:

    class scores: T^2 KL(softmax(t / T) || softmax(s / T)) + w ||c(s) - c(t)||^2 / ||c(t)||^2
    anything else: ||s - t||^2 / ||t||^2, where ||t||^2 counts as a hundredth of what it mostly is at least (maps of
                   batches that show nothing)

    loss = alpha * sum over outputs + (1 - alpha) * cross-entropy(s, labels), alpha = 1 without labels

With a user's own metric there is no cross-entropy: labels are what the metric makes of them.

Class scores that already are probabilities are taken to logarithms first, which are logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxprune.errors import DataError
from onnxprune.training.class_scores import SMALLEST_PROBABILITY, are_probabilities, is_scores
from onnxprune.training.dataset import AnyArray

_LEAST_ENERGY = 0.01

Kind = Literal["logits", "probabilities", "values", "ignored"]


@dataclass(frozen=True)
class DistillLoss:
    """The loss, for outputs of known kinds.

    Attributes:
        kinds: What each output is; "ignored" where it has no gradient (integers).
        temperature: T above.
        alpha: Weight of the original's outputs where there are labels.
        logit_weight: w above.
        energies: Mean square of each of the original's outputs; empty: not known.
    """

    kinds: tuple[Kind, ...]
    temperature: float
    alpha: float
    logit_weight: float
    energies: tuple[float, ...] = ()

    def __call__(self, student: Sequence[Tensor], teacher: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """Compute the loss of one batch.

        Args:
            student: Outputs of the network that learns.
            teacher: Outputs of the original.
            labels: Class numbers, shape (n,), or None.
        """
        energies = self.energies or (0.0,) * len(self.kinds)
        terms = [self._term(*one) for one in zip(self.kinds, student, teacher, energies, strict=True)]
        loss = torch.stack([term for term in terms if term is not None]).sum()
        scores = next((i for i, kind in enumerate(self.kinds) if kind in ("logits", "probabilities")), None)
        if labels is None or scores is None:
            return loss
        task = functional.cross_entropy(as_logits(student[scores], self.kinds[scores]), labels)
        return self.alpha * loss + (1 - self.alpha) * task

    def _term(self, kind: Kind, student: Tensor, teacher: Tensor, energy: float) -> Tensor | None:
        if kind == "ignored":
            return None
        if kind == "values":
            return normalised_error(student.float(), teacher.float(), _LEAST_ENERGY * energy * teacher.numel())
        ours, theirs = as_logits(student, kind), as_logits(teacher, kind)
        wanted = functional.log_softmax(theirs / self.temperature, dim=1)
        got = functional.log_softmax(ours / self.temperature, dim=1)
        divergence = functional.kl_div(got, wanted, reduction="batchmean", log_target=True)
        loss = self.temperature**2 * divergence
        if self.logit_weight > 0:
            loss = loss + self.logit_weight * normalised_error(_centred(ours), _centred(theirs))
        return loss


def as_logits(scores: Tensor, kind: Kind) -> Tensor:
    """Return class scores as float32 logits, shape (n, classes)."""
    scores = scores.float()
    return scores.clamp(min=SMALLEST_PROBABILITY).log() if kind == "probabilities" else scores


def mean_square(output: AnyArray) -> float:
    """Return the mean of an output's squares; 0 where it has no entries."""
    values = np.asarray(output, np.float64)
    return float(np.square(values).mean()) if values.size else 0.0


def normalised_error(student: Tensor, teacher: Tensor, least: float = 0.0) -> Tensor:
    """Return ||student - teacher||^2 / ||teacher||^2 over the batch; the latter is taken for `least` at least."""
    energy = teacher.square().sum().clamp(min=max(least, 1e-12))
    return (student - teacher).square().sum() / energy


def _centred(scores: Tensor) -> Tensor:
    return scores - scores.mean(dim=1, keepdim=True)


def output_kinds(teacher: Sequence[AnyArray], origin: str, *, scored: bool = True) -> tuple[Kind, ...]:
    """Tell what the original's outputs are.

    Args:
        teacher: Its outputs on one batch.
        origin: Where the batch came from.
        scored: Whether what has the form of class scores is taken for such.

    Raises:
        DataError: An output is NaN or infinite, or none has a gradient.
    """
    kinds = tuple(_kind(np.asarray(output), position, origin, scored=scored) for position, output in enumerate(teacher))
    if all(kind == "ignored" for kind in kinds):
        raise DataError("no output of the model is floating point: there is nothing to distil from")
    return kinds


def _kind(output: AnyArray, position: int, origin: str, *, scored: bool) -> Kind:
    if output.dtype.kind != "f":
        return "ignored"
    if not np.isfinite(output).all():
        raise DataError(
            f"output {position} of the original network is NaN or infinite on {origin}; check the data and "
            "its preprocessing"
        )
    if not scored or not is_scores(output):
        return "values"
    return "probabilities" if are_probabilities(output) else "logits"
