"""Which channel counts are worth having: the step that a layer's kernels are built for.

Kernels work in blocks, so a cost is a staircase of its channel count: steps within a block save nothing, and
counts that a kernel is not made for can cost more than larger ones. The step is found from measured costs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

CountCost = Callable[[int], float]
"""Milliseconds at a channel count."""

_BLOCKS = (1, 2, 4, 8, 16, 32, 64)
# Steps below this share of the channels save less than two measurements differ by.
_SMALLEST_SHARE = 1 / 32
# A step is as good as a large one if it saves this share of what that saves per channel.
_GOOD_ENOUGH = 0.6
# Two measurements of one layer differ by about this share.
_NOISE = 0.03
# The profiler counts whole microseconds; means of several runs still differ by this.
_RESOLUTION_MS = 0.0003


def efficient_step(cost_ms: CountCost, count: int, unit: int = 1) -> int:
    """Find the smallest step of channel counts whose every count is worth having.

    A step is judged from a count that is a multiple of it: what the next lower multiple saves, per channel,
    against what a large step saves. Steps that stay within a block save nothing there, and those that leave
    the blocks cost more; a step that passes near the layer's own count is confirmed at a lower one.

    Args:
        cost_ms: Cost of the layer, or sum of the costs of several layers, at a count from `unit` to `count`.
        count: Channels that the layer has.
        unit: Counts are multiples of it: the width of the groups that are removed whole.

    Returns:
        The step, a multiple of `unit`; `count` at most, rounded up to `unit`.
    """
    steps = _steps(count, unit)
    largest = max((step for step in steps if 2 * step <= count), default=0)
    if largest == 0:
        return unit
    top = count // largest * largest
    reference = (cost_ms(top) - cost_ms(top - largest)) / largest
    if reference * largest <= max(_NOISE * cost_ms(top), _RESOLUTION_MS):
        reference = 0.0
    smallest = max(_SMALLEST_SHARE * count, unit)
    candidates = [step for step in steps if smallest <= step <= largest and largest % step == 0]
    for step in candidates:
        if all(_worth(cost_ms, start, step, reference) for start in _starts(top, largest, step)):
            return step
    return next((step for step in steps if step > largest), largest)


def _steps(count: int, unit: int) -> Sequence[int]:
    return sorted({step for block in _BLOCKS if (step := math.lcm(block, unit)) <= count})


def _starts(top: int, largest: int, step: int) -> list[int]:
    """Return where to judge a step: at the top, and a little above half of it."""
    lower = max((top * 5 // 8) // largest * largest, 2 * step)
    return [top, lower] if lower < top else [top]


def _worth(cost_ms: CountCost, start: int, step: int, reference: float) -> bool:
    """Say whether stepping down from a count that suits the step saves about the reference, per channel."""
    high, low = cost_ms(start), cost_ms(start - step)
    if reference == 0.0:
        return low <= high * (1 + _NOISE) + _RESOLUTION_MS
    return high - low >= _GOOD_ENOUGH * reference * step - _RESOLUTION_MS
