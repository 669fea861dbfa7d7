"""How labels follow when axes are folded and unfolded in row-major order, as Reshape does.

Both shapes are refined to common factors: (C, H, W) -> (g, C/g * H * W) has the factors g, C/g, H, W. Where an axis
breaks into several factors, its labels stay free along one of them and are tied along the others, so that whatever is
removed leaves a box: along the largest that nothing behind fixes and that labels were not repeated for. Where factors
join, the labels of the one free factor are repeated; of several it is the largest, but whole heads come first. This one
rule covers channel shuffle, grouped normalisation, attention heads, Flatten and PixelShuffle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from onnxprune.channels import hints
from onnxprune.channels.labels import Axes, Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.stand_ins import Dims, Segment, is_dynamic, segments

Outlook = Callable[[], Set[int]]
"""Finds the axes after that what follows fixes."""


def regroup(
    labels: Labels,
    axes: Axes,
    before: Dims,
    after: Dims,
    what: str,
    *,
    free_size: int | None = None,
    outlook: Outlook = frozenset,
) -> Axes:
    """Move labels from axes of sizes `before` to axes of sizes `after` with the same entries in the same order.

    Args:
        labels: The run's state; ties and pins are recorded there.
        axes: Labels of the axes before.
        before: Sizes before; names or None where dynamic.
        after: Sizes after, likewise.
        what: The op and its node, for messages.
        free_size: Where an axis breaks up, labels stay free along the factor of this size, a number of heads that go
            whole; None, or none of this size: along the largest that can stay free.
        outlook: Asked for the axes after that are fixed anyway, if that matters.

    Returns:
        Labels of the axes after.
    """
    # Inference of shapes may have lost a size that the labels have.
    known = [dim if axis is None else len(axis) for dim, axis in zip(before, axes, strict=True)]
    out: list[Axis] = []
    for piece in segments(known, after, labels.products):
        inner = axes[piece.ins]
        factors = _common_factors(piece.in_sizes, piece.out_sizes) if piece.out_sizes is not None else None
        if factors is None or all(axis is None for axis in inner):
            _pin_piece(labels, inner, piece, what)
            out += [None] * (piece.outs.stop - piece.outs.start)
            continue
        in_spans, out_spans = _spans(piece.in_sizes, factors), _spans(piece.out_sizes or [], factors)
        first = piece.outs.start
        choice = _Choice(factors, out_spans, free_size, partial(_behind, first, outlook))
        factor_labels = _unfold(labels, inner, in_spans, choice, what)
        out += _fold(labels, factor_labels, out_spans, factors, what)
    return tuple(out)


def _behind(first: int, outlook: Outlook) -> Set[int]:
    return {axis - first for axis in outlook()}


def _pin_piece(labels: Labels, axes: Axes, piece: Segment, what: str) -> None:
    for axis in axes:
        if piece.out_sizes is None:
            labels.pin(axis, f"{what} regroups this axis in a way that is not known beforehand", hints.SIZES)
        else:
            labels.pin(axis, f"{what} regroups {piece.in_sizes} to {piece.out_sizes}, which no removal fits")


def _common_factors(ins: list[int], outs: list[int]) -> list[int] | None:
    """Factor both shapes into common ones; None where their boundaries do not nest."""
    bounds = sorted({1, *_cumulative(ins), *_cumulative(outs)})
    if any(high % low for low, high in pairwise(bounds)):
        return None
    return [high // low for low, high in pairwise(bounds)]


def _cumulative(sizes: list[int]) -> list[int]:
    return [math.prod(sizes[: i + 1]) for i in range(len(sizes))]


def _spans(sizes: list[int], factors: list[int]) -> list[range]:
    """Return which factors each axis is made of."""
    spans, start = [], 0
    for size in sizes:
        stop, product = start, 1
        while product < size:
            product *= factors[stop]
            stop += 1
        spans.append(range(start, stop))
        start = stop
    return spans


@dataclass(frozen=True)
class _Choice:
    """Which factor of an axis stays free.

    Attributes:
        factors: The common factors of both shapes.
        out_spans: Which of them each axis after is made of.
        free_size: The size that is wanted, if any.
        fixed: Finds the axes after that what follows fixes.
    """

    factors: list[int]
    out_spans: list[range]
    free_size: int | None
    fixed: Outlook

    def of(self, span: range, labels: np.ndarray) -> int:
        """Choose among the factors of an axis, given its labels, an axis for each factor."""
        if self.free_size in [self.factors[i] for i in span[:-1]]:
            # Of two factors of the wanted size the last but one is the heads': their width follows.
            return max(i for i in span[:-1] if self.factors[i] == self.free_size)
        if len(span) == 1:
            return span[0]
        fixed = self.fixed()
        lost = [i for i, out in enumerate(self.out_spans) if i in fixed or _is_dynamic(self.factors, out)]
        # Along factors that labels are repeated for, nothing tells units apart.
        differ = {i for k, i in enumerate(span) if (labels != labels.take([0], axis=k)).any()}
        kept = [i for i in span if all(i not in self.out_spans[axis] for axis in lost)]
        return max(span, key=lambda i: (i in differ, i in kept, self.factors[i], i))


def _is_dynamic(factors: list[int], span: range) -> bool:
    return any(is_dynamic(factors[i]) for i in span)


def _unfold(labels: Labels, axes: Axes, in_spans: list[range], choice: _Choice, what: str) -> list[Axis]:
    result: list[Axis] = [None] * len(choice.factors)
    for axis, span in zip(axes, in_spans, strict=True):
        if axis is None or len(span) == 0:
            continue
        shape = [choice.factors[i] for i in span]
        by_factor = axis.reshape(shape)
        free = choice.of(span, by_factor)
        size = choice.factors[free]
        boxes = np.moveaxis(by_factor, free - span.start, 0).reshape(size, -1)
        for column in range(1, boxes.shape[1]):
            labels.tie(boxes[:, 0], boxes[:, column], f"{what} splits an axis with fixed entries")
        result[free] = boxes[:, 0]
        if len(span) > 1 and size == choice.free_size:
            labels.mark_heads(boxes[:, 0])
    return result


def _fold(labels: Labels, factor_labels: list[Axis], out_spans: list[range], factors: list[int], what: str) -> Axes:
    out: list[Axis] = []
    for span in out_spans:
        labelled = [i for i in span if factor_labels[i] is not None]
        if not labelled:
            out.append(None)
            continue
        dynamic = _is_dynamic(factors, span)
        # Entries of a single head that whole heads share have been free so far.
        free = max(labelled, key=lambda i: (labels.are_heads(factor_labels[i]), factors[i]))
        for i in labelled:
            if i != free or dynamic:
                labels.pin(factor_labels[i], f"{what} merges them with another axis")
        if dynamic:
            out.append(None)
            continue
        shape = [factors[i] if i == free else 1 for i in span]
        free_labels = factor_labels[free]
        assert free_labels is not None
        full = np.broadcast_to(free_labels.reshape(shape), [factors[i] for i in span])
        out.append(full.reshape(-1))
    return tuple(out)
