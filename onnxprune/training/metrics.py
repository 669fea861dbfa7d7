"""How good a network's outputs are: against labels, and against the original network's outputs.

An output is *class scores* where it is floating point, has two axes and at least two columns; any other is a
plain value, and so are all where a user's own metric is for something else than classes (`as_judged`). With `a`
the outputs of the network, `b` those of the original:

- top-1 = share of samples whose highest score in the first output of class scores is the label's, in percent;
- top-1 agreement = share of samples whose highest score is the same in a and b, in percent;
- KL = mean over samples of sum_i p_i log(p_i / q_i) in nats, p = softmax(b), q = softmax(a); scores that
  already are probabilities (of 1e-6 at least) are only made to sum to one;
- error = ||a - b|| / ||b|| over all samples, for each output (integers: |a - b| counts as 1 where they
  differ, |b| as 1);
- normalised agreement = 1 - ||a - b||^2 / ||b||^2, in percent, averaged over the outputs; it can fall below
  0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from onnxprune.errors import DataError
from onnxprune.training.class_scores import divergences, probability_kinds, scores_output
from onnxprune.training.dataset import AnyArray, Dataset, IntArray

Predict = Callable[[tuple[AnyArray, ...]], Sequence[AnyArray]]
"""Runs a network: arrays in the order of its inputs, each (n, ...), to arrays in the order of its outputs."""

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Metrics:
    """How good a network is on a dataset.

    Attributes:
        primary_name: "top-1", "top-1 agreement", "normalised agreement", or the name of the user's own metric.
        primary: The figure to judge by, in percent; higher is better. Minus infinity where `failure` says why.
        samples: Number of samples it was measured on.
        top1: Top-1 in percent; None without labels or class scores.
        agreement: Top-1 agreement with the original in percent; None without an original or class scores.
        kl: Mean KL divergence from the original in nats; None likewise.
        errors: Relative error of each output against the original's; None where the shape differs or the
            original is all zeros. Empty without an original.
        synthetic: Whether the inputs were random.
        failure: Why the user's own metric has no number for the outputs, where that was forgiven; else None.
    """

    primary_name: str
    primary: float
    samples: int
    top1: float | None = None
    agreement: float | None = None
    kl: float | None = None
    errors: tuple[float | None, ...] = ()
    synthetic: bool = False
    failure: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON takes them; what is not finite becomes None."""
        errors = [_finite(error) for error in self.errors]
        return {**asdict(self), "primary": _finite(self.primary), "kl": _finite(self.kl), "errors": errors}

    def better_than(self, other: Metrics, highest: float = -math.inf) -> bool:
        """Compare two networks on the same data.

        Where the primary figures are within a standard error of each other, chance decides between them, so
        the one whose outputs are closer to the original's is better.

        Args:
            other: What this is compared with.
            highest: The highest primary figure of several that are compared in turn: what falls short of it by more
                than a standard error is not chosen for its outputs, or each could be a little worse than the last.
        """
        if math.isnan(self.primary) or math.isnan(other.primary):
            return not math.isnan(self.primary)
        gain = self.primary - other.primary
        # Two that failed are equal, too: minus infinity.
        equal = self.primary == other.primary
        by_chance = equal or max(abs(gain), highest - self.primary) <= other.standard_error
        if not by_chance or self.distance == other.distance:
            return gain > 0
        return self.distance < other.distance

    @property
    def standard_error(self) -> float:
        """The standard error of the primary figure, in points, where it counts samples; else 0."""
        if self.primary_name not in ("top-1", "top-1 agreement"):
            return 0.0
        share = self.primary / 100
        return 100 * math.sqrt(share * (1 - share) / self.samples)

    @property
    def distance(self) -> float:
        """How far the outputs are from the original's: the KL divergence, else the errors' sum."""
        known = [self.kl] if self.kl is not None else [e for e in self.errors if e is not None]
        return float(sum(known)) if known else 0.0


@dataclass
class _Sums:
    """What is added up over the batches."""

    samples: int = 0
    own: float | None = None
    failure: str | None = None
    correct: int = 0
    same: int = 0
    kl: float = 0.0
    kinds: tuple[bool, bool] | None = None
    squares: dict[int, tuple[float, float]] = field(default_factory=dict)
    incomparable: set[int] = field(default_factory=set)
    other_classes: bool = False


def check_labels(data: Dataset, classes: int, part: str | None = None) -> None:
    """Refuse labels that the class scores do not reach.

    Args:
        data: A dataset; without labels there is nothing to refuse.
        classes: Number of class scores.
        part: Which part of the data it is, for the message.

    Raises:
        DataError: A label is out of range.
    """
    if data.labels is None or not len(data) or int(data.labels.max()) < classes:
        return
    first = int(np.flatnonzero(data.labels >= classes)[0])
    where = data.origin if part is None else f"{data.origin} ({part} part)"
    raise DataError(
        f"{where} has the label {data.labels[first]}, but the model has {classes} class scores (labels 0 to "
        f"{classes - 1}), first at {data.name(first) or f'index {data.rows[first]}'}; correct the labels, or leave "
        "them out"
    )


def collect(predict: Predict, data: Dataset, batch_size: int = EVALUATION_BATCH) -> tuple[AnyArray, ...]:
    """Run a network over a dataset and join its outputs along the first axis, in the dataset's order."""
    batches = [tuple(np.asarray(o) for o in predict(b.inputs)) for b in data.batches(batch_size)]
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def evaluate(
    predict: Predict,
    data: Dataset,
    reference: Predict | Sequence[AnyArray] | None = None,
    *,
    batch_size: int = EVALUATION_BATCH,
    forgiving: bool = False,
) -> Metrics:
    """Measure a network on a dataset.

    Args:
        predict: Runs the network.
        data: What to measure on.
        reference: The original network, or its outputs for the whole dataset (`collect`), to measure
            agreement with.
        batch_size: Samples a run.
        forgiving: Whether a network that the user's own metric fails on is worse than any other, which is no error
            where it is one of many.

    Returns:
        The metrics; the primary one is top-1 where there are labels and class scores, else agreement.

    Raises:
        DataError: There is nothing to measure by (no labels for class scores, no original), a label is out of
            range, or the user's own metric fails.
    """
    sums = _Sums()
    count = 0
    has_scores = False
    kept: list[list[AnyArray]] = []
    for batch in data.batches(batch_size):
        outputs = [np.asarray(o) for o in predict(batch.inputs)]
        count = len(outputs)
        position = scores_output(outputs) if data.scored else None
        has_scores = position is not None
        if batch.labels is not None and position is not None:
            check_labels(data, outputs[position].shape[1])
            sums.correct += int((outputs[position].argmax(axis=1) == batch.labels).sum())
        if reference is not None:
            _compare(sums, outputs, _reference_outputs(reference, batch.inputs, batch.positions), position)
        sums.samples += len(batch.positions)
        if data.metric is not None:
            kept.append(outputs)
    if data.metric is not None:
        _judge(sums, data, [np.concatenate(parts) for parts in zip(*kept, strict=True)], forgiving=forgiving)
    return _metrics(sums, data, count, has_scores=has_scores, compared=reference is not None)


def _judge(sums: _Sums, data: Dataset, outputs: Sequence[AnyArray], *, forgiving: bool) -> None:
    """Judge by the user's own metric."""
    try:
        sums.own = own_score(data, outputs)
    except DataError as error:
        if not forgiving:
            raise
        sums.own, sums.failure = -math.inf, str(error)


def own_score(data: Dataset, outputs: Sequence[AnyArray]) -> float:
    """Return what the user's own metric says of a network's outputs on the whole dataset, which has one.

    Raises:
        DataError: It fails, or gives no finite number.
    """
    assert data.metric is not None
    return data.metric.score(outputs, data.labels if data.targets is None else data.targets)


def _reference_outputs(
    reference: Predict | Sequence[AnyArray], inputs: tuple[AnyArray, ...], positions: IntArray
) -> list[AnyArray]:
    if callable(reference):
        return [np.asarray(o) for o in reference(inputs)]
    return [output[positions] for output in reference]


def _compare(sums: _Sums, outputs: Sequence[AnyArray], originals: Sequence[AnyArray], scores: int | None) -> None:
    """Add one batch's differences to the sums."""
    if scores is not None and outputs[scores].shape == originals[scores].shape:
        ours, theirs = outputs[scores], originals[scores]
        sums.same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        sums.kinds = sums.kinds or probability_kinds(theirs, ours)
        sums.kl += float(divergences(theirs, ours, sums.kinds).sum())
    elif scores is not None:
        sums.other_classes = True
    for position, (ours, theirs) in enumerate(zip(outputs, originals, strict=True)):
        if ours.shape != theirs.shape or ours.dtype.kind not in "fiub":
            sums.incomparable.add(position)
            continue
        difference, energy = sums.squares.get(position, (0.0, 0.0))
        if theirs.dtype.kind == "f":
            difference += float(np.square(ours.astype(np.float64) - theirs).sum())
            energy += float(np.square(theirs.astype(np.float64)).sum())
        else:
            difference += float((ours != theirs).sum())
            energy += float(theirs.size)
        sums.squares[position] = (difference, energy)


def _metrics(sums: _Sums, data: Dataset, count: int, *, has_scores: bool, compared: bool) -> Metrics:
    labelled = data.labelled and has_scores
    if not labelled and not compared and sums.own is None:
        what = "has no labels" if not data.labelled else "has labels, but the model has no class scores (n, classes)"
        raise DataError(f"{data.origin} {what}: there is nothing to measure by but the original's outputs; give them")
    errors = tuple(_error(sums, position) for position in range(count)) if compared else ()
    top1 = 100.0 * sums.correct / sums.samples if labelled else None
    # Of scores whose shapes differ nothing was counted: that is no agreement of 0 %.
    agreement = 100.0 * sums.same / sums.samples if compared and has_scores and not sums.other_classes else None
    if data.metric is not None and sums.own is not None:
        name, primary = data.metric.name, sums.own
    elif top1 is not None:
        name, primary = "top-1", top1
    elif agreement is not None:
        name, primary = "top-1 agreement", agreement
    else:
        name, primary = "normalised agreement", _normalised_agreement(errors, data)
    kl = sums.kl / sums.samples if agreement is not None else None
    return Metrics(name, primary, sums.samples, top1, agreement, kl, errors, data.synthetic, sums.failure)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _error(sums: _Sums, position: int) -> float | None:
    if position in sums.incomparable:
        return None
    difference, energy = sums.squares[position]
    if energy == 0:
        return 0.0 if difference == 0 else None
    return math.sqrt(difference / energy)


def _normalised_agreement(errors: Sequence[float | None], data: Dataset) -> float:
    known = [1.0 - error**2 for error in errors if error is not None]
    if not known:
        raise DataError(
            f"no output can be compared on {data.origin}: their shapes differ from the original's; "
            "give labelled data or a model whose outputs have fixed shapes"
        )
    return 100.0 * sum(known) / len(known)


def sized(predict: Predict, fixed_batch: int | None) -> Predict:
    """Return `predict` as it is, or, where the network's batch size is fixed, `in_batches_of` it."""
    return predict if fixed_batch is None else in_batches_of(predict, fixed_batch)


def in_batches_of(predict: Predict, batch: int) -> Predict:
    """Feed a network whose batch size is fixed: samples are cut to that size, the last cut filled up.

    Args:
        predict: Runs the network, `batch` samples at a time.
        batch: The network's batch size.
    """

    def run(inputs: tuple[AnyArray, ...]) -> list[AnyArray]:
        count = len(inputs[0])
        parts = [list(predict(tuple(_filled(a, at, batch) for a in inputs))) for at in range(0, count, batch)]
        return [np.concatenate(outputs)[:count] for outputs in zip(*parts, strict=True)]

    return run


def _filled(array: AnyArray, start: int, batch: int) -> AnyArray:
    part = array[start : start + batch]
    missing = batch - len(part)
    return part if missing == 0 else np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
