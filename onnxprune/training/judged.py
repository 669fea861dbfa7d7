"""What labels and outputs are where a user's own metric judges: classes, or whatever else the metric makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnxprune.training.class_scores import are_probabilities, scores_output
from onnxprune.training.dataset import AnyArray, Dataset, DataSplits


def as_judged(data: DataSplits, outputs: Sequence[AnyArray]) -> DataSplits:
    """Take labels for class numbers, and outputs for class scores, only where a user's metric leaves no other meaning.

    With k columns in the first output that has the form of class scores, labels that are all class numbers below k say
    that it is such. Any other labels (ages, boxes, none) are the metric's alone; the outputs are then values that are
    learned as they are, offsets and scales included, unless their rows are probabilities.

    Args:
        data: The data of a run with a user's metric.
        outputs: The original's, on a few samples.
    """
    position = scores_output(outputs)
    if position is None:
        return data
    labels = [part.labels for part in (data.train, data.val, data.test) if part.labels is not None]
    if labels and all(int(numbers.max()) < outputs[position].shape[1] for numbers in labels):
        return data
    scored = are_probabilities(outputs[position])
    train, val, test = (_for_the_metric(part, scored=scored) for part in (data.train, data.val, data.test))
    return replace(data, train=train, val=val, test=test)


def _for_the_metric(part: Dataset, *, scored: bool) -> Dataset:
    targets = part.labels if part.targets is None else part.targets
    return replace(part.unlabelled(), targets=targets, scored=scored)
