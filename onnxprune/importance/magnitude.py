"""Magnitude: channels whose weights are small add little (Li et al. 2017, "Pruning Filters for Efficient ConvNets").

l1, l2      norm of each slice of a weight, along output axes (the filters) and input axes (what reads the channel)
reader_l1   sum of absolute weights along input axes only: exactly what silencing the channel takes away. How large a
            filter is says less, above all where BatchNorm was folded into it, since its scale can be moved into the
            layers that read it
variance    variance of the weights of each filter, a criterion of RL-Pruner (Wang et al., arXiv 2411.06463): filters
            that are nearly constant only blur what they read
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from onnxprune.importance.registry import Criterion, CriterionInputs, SliceScores, register
from onnxprune.importance.weights import Weight, WeightAxis, over_other_axes, weights

# Entries of a weight taken at a time, so that no copy of a large one is made.
_BLOCK = 1 << 18


def _l1(inputs: CriterionInputs) -> Iterator[SliceScores]:
    for weight in weights(inputs.model, inputs.channels):
        yield from _sums(weight, weight.axes, np.abs)


def _l2(inputs: CriterionInputs) -> Iterator[SliceScores]:
    for weight in weights(inputs.model, inputs.channels):
        for item in _sums(weight, weight.axes, np.square):
            yield SliceScores(item.source, item.units, np.sqrt(item.scores))


def _reader_l1(inputs: CriterionInputs) -> Iterator[SliceScores]:
    read = np.zeros(inputs.channels.unit_count, dtype=bool)
    unread: list[SliceScores] = []
    for weight in weights(inputs.model, inputs.channels):
        for item, axis in zip(_sums(weight, weight.axes, np.abs), weight.axes, strict=True):
            if axis.produces:
                unread.append(item)
            else:
                read[axis.units[axis.units >= 0]] = True
                yield item
    # Some channels meet no weight after their own, such as the queries and keys of attention.
    for item in unread:
        units = np.where((item.units >= 0) & read[item.units], -1, item.units)
        if (units >= 0).any():
            yield SliceScores(item.source, units, item.scores)


def _variance(inputs: CriterionInputs) -> Iterator[SliceScores]:
    for weight in weights(inputs.model, inputs.channels):
        for axis in weight.axes:
            if axis.produces:
                filters = np.moveaxis(weight.array(), axis.axis, 0)
                rows = max(1, _BLOCK * len(filters) // max(filters.size, 1))
                blocks = (filters[start : start + rows] for start in range(0, len(filters), rows))
                variances = [block.reshape(len(block), -1).var(axis=1, dtype=np.float64) for block in blocks]
                yield SliceScores(f"'{weight.name}', axis {axis.axis}", axis.units, np.concatenate(variances))


def _sums(
    weight: Weight, axes: Sequence[WeightAxis], size: Callable[[np.ndarray], np.ndarray]
) -> Iterator[SliceScores]:
    """Sum the sizes of a weight's entries over each slice along each axis, in blocks of rows."""
    array = weight.array()
    totals = [np.zeros(array.shape[axis.axis]) for axis in axes]
    rows = max(1, _BLOCK * array.shape[0] // max(array.size, 1))
    for start in range(0, array.shape[0], rows):
        sizes = size(array[start : start + rows].astype(np.float64))
        for position, axis in enumerate(axes):
            here = slice(start, start + rows) if axis.axis == 0 else slice(None)
            totals[position][here] += sizes.sum(axis=over_other_axes(sizes, axis.axis))
    for axis, sums in zip(axes, totals, strict=True):
        yield SliceScores(f"'{weight.name}', axis {axis.axis}", axis.units, sums)


register(Criterion("l1", "sum of absolute weights", "nothing", _l1))
register(Criterion("l2", "root of the sum of squared weights", "nothing", _l2))
register(Criterion("reader_l1", "sum of the absolute weights that read the channel", "nothing", _reader_l1))
register(Criterion("variance", "variance of each filter's weights", "nothing", _variance, zero_is_dead=False))
