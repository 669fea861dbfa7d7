"""How labels follow when axes are folded and unfolded in row-major order, as Reshape does.

Both shapes are refined to common factors: (C, H, W) -> (g, C/g * H * W) has the factors g, C/g, H, W. Where an axis
breaks into several factors, its labels stay free along one of them and are tied along the others, so that whatever is
removed leaves a box; where factors join, the labels of the one free factor are repeated. This one rule covers
channel shuffle, grouped normalisation, attention heads, Flatten and PixelShuffle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from onnxprune.channels import hints
from onnxprune.channels.labels import Axes, Labels
from onnxprune.channels.map import Axis

Dims = Sequence[int | str | None]
STAND_INS = (1_000_003, 1_000_033, 1_000_037, 1_000_039, 1_000_081, 1_000_099, 1_000_117, 1_000_121)
"""Stand-ins for dynamic sizes: primes no real size is a multiple of, so that products still factor uniquely."""


def regroup(labels: Labels, axes: Axes, before: Dims, after: Dims, what: str, *, free_size: int | None = None) -> Axes:
    """Move labels from axes of sizes `before` to axes of sizes `after` with the same entries in the same order.

    Args:
        labels: The run's state; ties and pins are recorded there.
        axes: Labels of the axes before.
        before: Sizes before; names or None where dynamic.
        after: Sizes after; at most one None that no name explains.
        what: The op and its node, for messages.
        free_size: Where an axis breaks up, labels stay free along the factor of this size; None, or none of this size:
            along the largest.

    Returns:
        Labels of the axes after.
    """
    if all(axis is None for axis in axes):
        return (None,) * len(after)
    static = _static_sizes(before, after)
    if static is None:
        for axis in axes:
            labels.pin(axis, f"{what} regroups this axis in a way that is not known beforehand", hints.SIZES)
        return (None,) * len(after)
    out: list[Axis] = []
    in_sizes, out_sizes = static
    for ins, outs in _segments(in_sizes, out_sizes):
        sizes = in_sizes[ins], out_sizes[outs]
        factors = _common_factors(*sizes)
        if factors is None:
            for axis in axes[ins]:
                labels.pin(axis, f"{what} regroups {sizes[0]} to {sizes[1]}, which no removal fits")
            out += [None] * len(sizes[1])
        else:
            factor_labels = _unfold(labels, axes[ins], sizes[0], factors, what, free_size=free_size)
            out += _fold(labels, factor_labels, sizes[1], factors, what)
    return tuple(out)


def _static_sizes(before: Dims, after: Dims) -> tuple[list[int], list[int]] | None:
    """Replace dynamic sizes by distinct primes, the single unexplained one after by what the product leaves."""
    primes: dict[object, int] = {}
    ins: list[int] = []
    for position, dim in enumerate(before):
        if isinstance(dim, int):
            ins.append(dim)
            continue
        key = dim if dim is not None else ("axis", position)
        if key not in primes:
            if len(primes) == len(STAND_INS):
                return None
            primes[key] = STAND_INS[len(primes)]
        ins.append(primes[key])
    outs = [dim if isinstance(dim, int) else primes.get(dim, 0) if dim is not None else 0 for dim in after]
    if outs.count(0) == 1 and 0 not in ins:
        rest = math.prod(s for s in outs if s)
        lacking = rest // math.gcd(math.prod(ins), rest)
        if lacking > 1:
            # Both shapes hold as many entries when the network runs, so it is a dynamic axis that has this factor.
            unexplained = [i for i, dim in enumerate(before) if not isinstance(dim, int) and dim not in after]
            if len(unexplained) != 1:
                return None
            ins[unexplained[0]] *= lacking
        outs[outs.index(0)] = math.prod(ins) // rest
    if 0 in ins or 0 in outs or math.prod(ins) != math.prod(outs):
        return None
    return ins, outs


def _segments(ins: list[int], outs: list[int]) -> Iterator[tuple[slice, slice]]:
    """Cut both shapes where they have the same entries in front: what is before does not touch what is behind."""
    i = j = 0
    while i < len(ins) or j < len(outs):
        start_i, start_j = i, j
        i, j = min(i + 1, len(ins)), min(j + 1, len(outs))
        while (a := math.prod(ins[start_i:i])) != (b := math.prod(outs[start_j:j])):
            if a < b:
                i += 1
            else:
                j += 1
        yield slice(start_i, i), slice(start_j, j)


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


def _unfold(
    labels: Labels, axes: Axes, sizes: list[int], factors: list[int], what: str, *, free_size: int | None
) -> list[Axis]:
    result: list[Axis] = [None] * len(factors)
    for axis, span in zip(axes, _spans(sizes, factors), strict=True):
        if axis is None or len(span) == 0:
            continue
        shape = [factors[i] for i in span]
        # Of two factors of the wanted size the last but one is the heads': their width follows.
        free = max(range(len(shape)), key=lambda i: (shape[i] == free_size and i < len(shape) - 1, shape[i], i))
        boxes = np.moveaxis(axis.reshape(shape), free, 0).reshape(shape[free], -1)
        for column in range(1, boxes.shape[1]):
            labels.tie(boxes[:, 0], boxes[:, column], f"{what} splits an axis with fixed entries")
        result[span[free]] = boxes[:, 0]
    return result


def _fold(labels: Labels, factor_labels: list[Axis], sizes: list[int], factors: list[int], what: str) -> Axes:
    out: list[Axis] = []
    for span in _spans(sizes, factors):
        labelled = [i for i in span if factor_labels[i] is not None]
        if not labelled:
            out.append(None)
            continue
        dynamic = math.prod(factors[i] for i in span) >= STAND_INS[0]
        free = max(labelled, key=lambda i: factors[i])
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
