"""Magnitude: channels whose weights are small add little (Li et al. 2017, "Pruning Filters for Efficient ConvNets")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxprune.importance.criteria import (
    Criterion,
    CriterionInputs,
    SliceScores,
    labelled_weights,
    over_other_axes,
    register,
)


def _l1(inputs: CriterionInputs) -> Iterator[SliceScores]:
    for _, array, labelled in labelled_weights(inputs):
        for axis, units in labelled:
            yield SliceScores(units, np.abs(array).sum(axis=over_other_axes(array, axis)))


def _l2(inputs: CriterionInputs) -> Iterator[SliceScores]:
    for _, array, labelled in labelled_weights(inputs):
        for axis, units in labelled:
            yield SliceScores(units, np.sqrt(np.square(array).sum(axis=over_other_axes(array, axis))))


register(Criterion("l1", "sum of absolute weights", "nothing", _l1))
register(Criterion("l2", "root of the sum of squared weights", "nothing", _l2))
