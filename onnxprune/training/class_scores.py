"""Class scores: which outputs are such, whether they are probabilities, and how far two networks' are apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.training.dataset import AnyArray

SMALLEST_PROBABILITY = 1e-6
_SUM_TOLERANCE = 0.05


def scores_output(outputs: Sequence[AnyArray]) -> int | None:
    """Return the position of the first output that is class scores, or None."""
    return next((i for i, o in enumerate(outputs) if is_scores(o)), None)


def is_scores(output: AnyArray) -> bool:
    """Whether an output is class scores: floating point, shape (n, classes), at least two classes."""
    return output.ndim == 2 and output.shape[1] >= 2 and output.dtype.kind == "f"


def are_probabilities(scores: AnyArray) -> bool:
    """Whether every row of class scores, shape (n, classes), is non-negative and sums to about one."""
    return bool(scores.min(initial=0.0) >= 0.0 and _sum_to_one(scores).all())


def probability_kinds(first: AnyArray, second: AnyArray) -> tuple[bool, bool]:
    """Tell of two networks that do the same, by their class scores on a batch, whether they are probabilities each.

    A softmax in int8 rounds what is below half a step to 0, so that the rows it is not sure of sum to less than one, or
    to more: it is recognised by the other rows, or by the other network, whose probabilities are exact.

    Args:
        first: Scores of the one network, shape (n, classes).
        second: Scores of the other.
    """
    shares = _are_shares(first), _are_shares(second)
    certain = [
        share and bool(_sum_to_one(one).mean() > 0.5) for share, one in zip(shares, (first, second), strict=True)
    ]
    return certain[0] or (certain[1] and shares[0]), certain[1] or (certain[0] and shares[1])


def divergences(wanted: AnyArray, got: AnyArray, kinds: tuple[bool, bool]) -> NDArray[np.float64]:
    """Return KL(p || q) in nats for each row of class scores, shape (n,), p those wanted and q those got.

    Args:
        wanted: Scores, shape (n, classes).
        got: Scores of the same shape.
        kinds: Whether they are probabilities each; else they are logits.
    """
    log_p, log_q = _log_probabilities(wanted, kinds[0]), _log_probabilities(got, kinds[1])
    # Rounding can leave a divergence of nothing a little below 0.
    return np.asarray(np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0))


def _log_probabilities(scores: AnyArray, probabilities: bool) -> NDArray[np.float64]:
    """Return the logarithms of class probabilities, from logits or from probabilities, shape (n, classes)."""
    values = scores.astype(np.float64)
    if probabilities:
        values = np.log(np.maximum(values, SMALLEST_PROBABILITY))
    values = values - values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


def _sum_to_one(scores: AnyArray) -> NDArray[np.bool_]:
    return np.asarray(np.abs(scores.astype(np.float64).sum(axis=1) - 1.0) < _SUM_TOLERANCE)


def _are_shares(scores: AnyArray) -> bool:
    """Whether every score could be a probability."""
    return bool(scores.min(initial=0.0) >= 0.0 and scores.max(initial=0.0) <= 1.0 + _SUM_TOLERANCE)
