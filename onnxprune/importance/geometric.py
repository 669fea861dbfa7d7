"""FPGM: filters near the geometric median of their layer can be replaced by the others (He et al. 2019).

The distance to the geometric median is ranked by the sum of the distances to all filters of the layer, as in the
paper (equation 8).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxprune.importance.criteria import Criterion, CriterionInputs, SliceScores, labelled_weights, register


def _distances(inputs: CriterionInputs) -> Iterator[SliceScores]:
    filters = set(inputs.channels.outputs_of.values())
    for name, array, labelled in labelled_weights(inputs):
        for axis, units in labelled:
            if (name, axis) not in filters:
                continue
            rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
            norms = np.square(rows).sum(axis=1)
            # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b, for all pairs at once.
            squared = norms[:, None] + norms[None, :] - 2 * rows @ rows.T
            yield SliceScores(units, np.sqrt(np.maximum(squared, 0)).sum(axis=1))


register(Criterion("fpgm", "distance to the layer's geometric median", "nothing", _distances))
