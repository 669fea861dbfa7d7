"""Walk along an allocation's path until the target is met, with few measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# A structure this close below the target is as good as any: sessions differ by more.
_CLOSE_ENOUGH = 0.97


@dataclass(frozen=True)
class Probe:
    """One structure that was looked at.

    Attributes:
        index: Its position on the path.
        predicted: Its cost by the model, scaled to the measurements so far.
        measured: Its true cost.
        macs: Its multiply-accumulates; None where nobody counted them.
    """

    index: int
    predicted: float
    measured: float
    macs: int | None = None


@dataclass(frozen=True)
class Reached:
    """Where the walk ended.

    Attributes:
        index: Position of the first structure found at or below the target; None if there is none.
        probes: Everything measured, in order.
    """

    index: int | None
    probes: tuple[Probe, ...]

    @property
    def lowest(self) -> float:
        """The lowest cost measured."""
        return min(probe.measured for probe in self.probes)


def reach(
    predicted: Sequence[float],
    measure: Callable[[int], float],
    target: float,
    *,
    original: float,
    max_probes: int = 12,
) -> Reached:
    """Find the largest structure on a path whose measured cost is at most the target.

    The prediction says where to look first; each measurement corrects it by a factor, and the interval between the
    last structure above and the first below the target shrinks until they are neighbours or the cost is close.

    Args:
        predicted: Cost of each structure on the path by a model; falling, in any unit.
        measure: Measures the structure at an index, in the target's unit.
        target: The cost to get down to.
        original: Measured cost of the first structure.
        max_probes: Most measurements.

    Returns:
        Where the walk ended.
    """
    above, below, below_cost = 0, len(predicted), float("inf")
    scale = original / predicted[0] if predicted[0] else 1.0
    probes: list[Probe] = []
    if original <= target:
        return Reached(0, (Probe(0, original, original),))
    while below - above > 1 and len(probes) < max_probes:
        index = _guess(predicted, scale, target, above, below)
        cost = measure(index)
        probes.append(Probe(index, predicted[index] * scale, cost))
        scale = cost / predicted[index] if predicted[index] else scale
        if cost <= target:
            below, below_cost = index, cost
            if below_cost >= _CLOSE_ENOUGH * target:
                break
        else:
            above = index
    if not probes:
        probes.append(Probe(0, original, original))
    return Reached(below if below < len(predicted) else None, tuple(probes))


def _guess(predicted: Sequence[float], scale: float, target: float, above: int, below: int) -> int:
    """First index strictly between the bounds that the scaled prediction puts just below the target."""
    aim = target * (1 + _CLOSE_ENOUGH) / 2
    for index in range(above + 1, below):
        if predicted[index] * scale <= aim:
            return index
    # Beyond the end the prediction has no say: the last structure decides whether the target can be reached.
    return below - 1
