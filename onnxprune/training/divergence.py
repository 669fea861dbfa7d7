"""Two networks on the same samples, sample by sample.

With a the outputs of the first network and b those of the second, a sample's divergence is

- KL = sum_i p_i log(p_i / q_i) in nats, p = softmax(a), q = softmax(b), of the first output that is class scores;
- without class scores: ||a - b|| / ||a|| over the sample's outputs (integers: as in `metrics`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import DataError
from onnxprune.training.class_scores import divergences, probability_kinds, scores_output
from onnxprune.training.dataset import AnyArray, Dataset, IntArray
from onnxprune.training.metrics import EVALUATION_BATCH, Predict, check_labels

Floats = NDArray[np.float64]
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Divergence:
    """How two networks differ on a dataset.

    Attributes:
        by_sample: Divergence of each sample, shape (n,).
        top: Top class of each sample by the first and the second network, shape (2, n); None without class scores.
        labels: Label of each sample, shape (n,), or None.
        errors: ||a - b|| / ||a|| of each output over all samples; None where a is all zeros and b is not.
        max_abs: Largest |a - b| of each output.
    """

    by_sample: Floats
    top: IntArray | None
    labels: IntArray | None
    errors: tuple[float | None, ...]
    max_abs: tuple[float, ...]

    @property
    def agreement(self) -> float | None:
        """Share of samples, in percent, whose top class is the same."""
        return None if self.top is None else float(100 * (self.top[0] == self.top[1]).mean())

    @property
    def kl(self) -> float | None:
        """Mean KL divergence in nats; None without class scores."""
        return None if self.top is None else float(self.by_sample.mean())

    def top1(self, network: int) -> float | None:
        """Return the top-1 of the first (0) or second (1) network in percent; None without labels or class scores."""
        if self.top is None or self.labels is None:
            return None
        return float(100 * (self.top[network] == self.labels).mean())

    def worst(self, count: int) -> list[int]:
        """Return the positions of the samples that diverge the most, the worst first."""
        return [int(i) for i in np.argsort(-self.by_sample, kind="stable")[:count]]


def diverge(
    first: Predict, second: Predict, data: Dataset, on_batch: Callable[[int], None] = lambda _: None
) -> Divergence:
    """Run two networks over a dataset and compare their outputs.

    Args:
        first: Runs the first network.
        second: Runs the second.
        data: The samples.
        on_batch: Called with the number of samples of each batch done.

    Raises:
        DataError: Outputs differ in shape, or a label is out of range.
    """
    samples: list[Floats] = []
    tops: list[AnyArray] = []
    sums: list[_Sums] = []
    kinds: tuple[bool, bool] | None = None
    for batch in data.batches(EVALUATION_BATCH):
        a, b = ([np.asarray(o) for o in predict(batch.inputs)] for predict in (first, second))
        sums = sums or [_Sums() for _ in a]
        squares = [s.add(x, y) for s, x, y in zip(sums, a, b, strict=True)]
        position = scores_output(a)
        if position is None:
            samples.append(_relative(squares))
        else:
            check_labels(data, a[position].shape[1])
            tops.append(np.stack([a[position].argmax(axis=1), b[position].argmax(axis=1)]))
            kinds = kinds or probability_kinds(a[position], b[position])
            samples.append(divergences(a[position], b[position], kinds))
        on_batch(len(batch.positions))
    return Divergence(
        by_sample=np.concatenate(samples),
        top=np.concatenate(tops, axis=1) if tops else None,
        labels=data.labels if tops else None,
        errors=tuple(s.error for s in sums),
        max_abs=tuple(s.max_abs for s in sums),
    )


class _Sums:
    """What is added up over the batches, for one output."""

    def __init__(self) -> None:
        self._difference, self._energy, self.max_abs = 0.0, 0.0, 0.0

    def add(self, a: AnyArray, b: AnyArray) -> tuple[Floats, Floats]:
        """Add a batch; return the squared difference and the energy of each sample."""
        if a.shape != b.shape:
            raise DataError(
                f"the two networks give outputs of different shapes for the same samples, {a.shape} and {b.shape}: "
                "they cannot be compared"
            )
        x, y = (o.reshape(len(o), -1) for o in (a, b))
        gap = (x != y).astype(np.float64) if a.dtype.kind != "f" else np.abs(x.astype(np.float64) - y)
        own = np.ones(x.shape) if a.dtype.kind != "f" else x.astype(np.float64)
        difference, energy = np.square(gap).sum(axis=1), np.square(own).sum(axis=1)
        self._difference += float(difference.sum())
        self._energy += float(energy.sum())
        self.max_abs = max(self.max_abs, float(gap.max(initial=0.0)))
        return difference, energy

    @property
    def error(self) -> float | None:
        """Relative error over everything added."""
        if self._energy == 0:
            return 0.0 if self._difference == 0 else None
        return float(np.sqrt(self._difference / self._energy))


def _relative(squares: Sequence[tuple[Floats, Floats]]) -> Floats:
    difference, energy = (np.sum(parts, axis=0) for parts in zip(*squares, strict=True))
    return np.asarray(np.sqrt(difference / np.maximum(energy, _TINY)))
