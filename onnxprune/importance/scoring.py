"""From slices to units: what all criteria share.

    relative(t, a, i) = score(t, a, i) / mean over i of score(t, a, i)       tensor t, axis a, index i
    unit(u)           = reduction over all (t, a, i) of unit u of relative(t, a, i)
    mean              : unit(u) / mean of its group
    max               : unit(u) / maximum of its group
    lamp              : unit(u)^2 / sum over the units v of its group with unit(v) >= unit(u) of unit(v)^2

With "mean" and "max", scores compare within a group, and a group's level says nothing. "lamp" is made for one ranking
over all groups (Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning"): it is the share of what
is left of the group that goes with the unit if units go from the lowest up. A group's last unit has 1, so that no
threshold below 1 empties a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.errors import CriterionError
from onnxprune.importance.registry import CalibrationBatch, CriterionInputs, SliceScores, criteria, criterion

Reduction = Literal["mean", "max", "sum", "l2"]
Normalisation = Literal["mean", "max", "lamp", "none"]


def score_units(
    name: str,
    model: ir.Model,
    channels: ChannelMap,
    *,
    calibration: Sequence[CalibrationBatch] | None = None,
    reduction: Reduction = "mean",
    normalise: Normalisation = "mean",
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Score every unit.

    Each axis of each tensor gives a vector of scores, which is divided by its mean, so that tensors compare. A unit's
    score is the reduction over its slices, divided, so that layers compare, by its group's mean (or maximum); a group
    of which the criterion says that nothing matters has 0. A unit that the criterion does not see counts as average.

    Args:
        name: The criterion.
        model: A normalised model.
        channels: Its analysis.
        calibration: Batches of samples, for criteria that need data.
        reduction: How a unit's slices become one score.
        normalise: What makes groups compare; "lamp" makes one ranking over all groups.
        seed: Seed of anything random.
        on_batch: Called after each calibration batch with the batches done and their number.

    Returns:
        Scores, shape (units,), finite and >= 0; higher is more important.

    Raises:
        CriterionError: The criterion is unknown, what it needs is not there, or a score is not finite.
    """
    chosen = criterion(name)
    if chosen.needs == "data" and not calibration:
        raise CriterionError(
            f"importance '{name}' needs calibration data: give --data, or choose one that needs none "
            f"({', '.join(c.name for c in criteria() if c.needs == 'nothing')})"
        )
    inputs = CriterionInputs(model, channels, calibration, seed, on_batch)
    scores = _reduce(chosen.slices(inputs), channels.unit_count, reduction)
    return _normalise(scores, channels, normalise, dead=0.0 if chosen.zero_is_dead else 1.0)


def _reduce(slices: Iterator[SliceScores], unit_count: int, reduction: Reduction) -> np.ndarray:
    total, largest, count = np.zeros(unit_count), np.zeros(unit_count), np.zeros(unit_count)
    for item in slices:
        free = item.units >= 0
        units, values = item.units[free], _relative(item)[free]
        total += np.bincount(units, values**2 if reduction == "l2" else values, minlength=unit_count)
        count += np.bincount(units, minlength=unit_count)
        np.maximum.at(largest, units, values)
    seen = count > 0
    if reduction == "max":
        scores = largest
    elif reduction == "mean":
        scores = total / np.maximum(count, 1)
    else:
        scores = np.sqrt(total) if reduction == "l2" else total
    # A unit that no slice carries is neither better nor worse than the others.
    scores[~seen] = scores[seen].mean() if seen.any() else 1.0
    return scores


def _relative(item: SliceScores) -> np.ndarray:
    scores: np.ndarray = item.scores.astype(np.float64)
    if not np.isfinite(scores).all():
        raise CriterionError(
            f"the scores of {item.source} are not finite: its weights or gradients are too large. "
            "Check the model and the data, or choose another importance"
        )
    largest = float(scores.max(initial=0.0))
    if largest > 0:
        # By the largest first: the mean of the smallest numbers there are could round to zero.
        scores /= largest
        scores /= scores.mean()
    return scores


def _normalise(scores: np.ndarray, channels: ChannelMap, how: Normalisation, *, dead: float) -> np.ndarray:
    """Make groups compare; one that has no score at all goes before anything that lives, or is as good as any."""
    if how == "none":
        return scores
    result = np.ones(len(scores))
    for group in channels.groups:
        own = scores[group.units]
        largest = float(own.max())
        if largest > 0:
            relative = own / largest
            if how == "mean":
                relative /= relative.mean()
            result[group.units] = _share_of_the_rest(relative) if how == "lamp" else relative
        else:
            result[group.units] = dead
            if how == "lamp":
                result[group.units[-1]] = 1.0
    return result


def _share_of_the_rest(scores: np.ndarray) -> np.ndarray:
    squared = np.square(scores)
    order = np.argsort(squared, kind="stable")
    rest = np.cumsum(squared[order][::-1])[::-1]
    shares = np.empty(len(squared))
    shares[order] = squared[order] / rest
    return shares
