"""Groups of fewer channels than their kernels' block: counts below that make the network slower are no counts to have.

On floats a layer within a block gets no faster, and what reads it does. On integers it can become slower: an int8
convolution of fewer than 16 output channels takes half again as long as one of 16 (x86, onnxruntime 1.31).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from onnxprune.latency import LayerSpec
from onnxprune.search.admissible import Admissible
from onnxprune.search.costs import LayerTerm

# Two measurements of one layer differ by about this share.
_NOISE = 0.03


class MeasuredLayers(Protocol):
    """What layers cost, measured on the device."""

    def cost_ms(self, spec: LayerSpec) -> float:
        """Return the cost of a layer."""


def without_slower(
    admissible: Admissible,
    small: Sequence[bool],
    terms: Sequence[LayerTerm],
    specs: Sequence[LayerSpec],
    table: MeasuredLayers,
) -> Admissible:
    """Leave out, of small groups, the counts at which the layers around are slower than at a larger one.

    Args:
        admissible: The counts of every group.
        small: Whether a group has no more channels than a block.
        terms: The contractions.
        specs: The same as the table knows them.
        table: Measured costs.
    """
    result = list(admissible.counts)
    for group, counts in enumerate(admissible.counts):
        if not small[group]:
            continue
        around = [
            (term, spec)
            for term, spec in zip(terms, specs, strict=True)
            if group in term.channels_in.groups or group in term.channels_out.groups
        ]
        kept, fastest = [counts[0]], _cost_ms(group, counts[0], admissible, around, table)
        for count in counts[1:]:
            cost = _cost_ms(group, count, admissible, around, table)
            if cost <= fastest * (1 + _NOISE):
                kept.append(count)
                fastest = min(fastest, cost)
        result[group] = tuple(kept)
    return Admissible(tuple(result))


def _cost_ms(
    group: int,
    count: int,
    admissible: Admissible,
    around: Sequence[tuple[LayerTerm, LayerSpec]],
    table: MeasuredLayers,
) -> float:
    counts = admissible.largest
    counts[group] = count
    return sum(table.cost_ms(spec.at(t.channels_in.of(counts), t.channels_out.of(counts))) for t, spec in around)
