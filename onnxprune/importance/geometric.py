"""FPGM: filters near the geometric median of their layer can be replaced by the others (He et al. 2019).

The distance to the geometric median is ranked by the sum of the distances to all filters of the layer, as in the
paper (equation 8).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxprune.importance.registry import Criterion, CriterionInputs, SliceScores, register
from onnxprune.importance.weights import weights


def _distances(inputs: CriterionInputs) -> Iterator[SliceScores]:
    for weight in weights(inputs.model, inputs.channels):
        for axis in weight.axes:
            if axis.produces:
                array = weight.array()
                filters = np.moveaxis(array, axis.axis, 0).reshape(array.shape[axis.axis], -1)
                yield SliceScores(f"'{weight.name}', axis {axis.axis}", axis.units, _to_all_others(filters))


def _to_all_others(rows: np.ndarray) -> np.ndarray:
    """Sum the Euclidean distances of each row to all others, (rows, length) -> (rows,)."""
    scale = np.abs(rows).max(initial=0.0)
    if scale == 0:
        return np.zeros(len(rows))
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, for all pairs at once; scaled so that no square overflows.
    rows = rows / scale
    norms = np.einsum("ij,ij->i", rows, rows)
    squared = rows @ rows.T
    squared *= -2
    squared += norms[:, None]
    squared += norms[None, :]
    np.maximum(squared, 0, out=squared)
    np.fill_diagonal(squared, 0)
    distances: np.ndarray = np.sqrt(squared, out=squared).sum(axis=1, dtype=np.float64) * scale
    return distances


register(Criterion("fpgm", "distance to the layer's geometric median", "nothing", _distances, zero_is_dead=False))
