"""The protocol of a criterion, the registry, and what all criteria share: reduction and normalisation."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.errors import CriterionError

Reduction = Literal["mean", "max", "sum", "l2"]
Normalisation = Literal["mean", "max", "none"]
Needs = Literal["nothing", "batchnorm", "data"]

_CONTRACTIONS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_MOVES = {"Transpose", "Cast", "Identity", "Reshape", "DequantizeLinear"}


class CalibrationBatch(Protocol):
    """Samples that gradients are taken on."""

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """Arrays in the order of the model's inputs."""

    @property
    def labels(self) -> np.ndarray | None:
        """Class of each sample, shape (batch,), or None."""


@dataclass(frozen=True)
class CriterionInputs:
    """What a criterion may look at.

    Attributes:
        model: The normalised model.
        channels: Its analysis.
        calibration: Batches of real samples; None where there are none.
        seed: Seed of anything random.
    """

    model: ir.Model
    channels: ChannelMap
    calibration: Sequence[CalibrationBatch] | None
    seed: int


@dataclass(frozen=True)
class SliceScores:
    """Scores along one axis of one tensor.

    Attributes:
        units: Unit of each index, shape (size,), -1 where fixed.
        scores: Score of each index, shape (size,), >= 0.
    """

    units: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Criterion:
    """A way to score slices.

    Attributes:
        name: What the user calls it.
        summary: One line on what it measures.
        needs: "nothing", "batchnorm" (layers in the graph) or "data".
        slices: Yields scores along the axes it looks at.
    """

    name: str
    summary: str
    needs: Needs
    slices: Callable[[CriterionInputs], Iterator[SliceScores]]


_CRITERIA: dict[str, Criterion] = {}


def register(criterion: Criterion) -> Criterion:
    """Add a criterion under its name."""
    if criterion.name in _CRITERIA:
        raise ValueError(f"criterion '{criterion.name}' is registered already")
    _CRITERIA[criterion.name] = criterion
    return criterion


def criteria() -> tuple[Criterion, ...]:
    """Return every criterion, by name."""
    _load()
    return tuple(_CRITERIA[name] for name in sorted(_CRITERIA))


def criterion(name: str) -> Criterion:
    """Return a criterion by name.

    Raises:
        CriterionError: There is none of that name.
    """
    _load()
    if name not in _CRITERIA:
        close = difflib.get_close_matches(name, _CRITERIA, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise CriterionError(f"unknown importance criterion '{name}'{hint} Known are {', '.join(sorted(_CRITERIA))}")
    return _CRITERIA[name]


def _load() -> None:
    """Import the families, each of which registers its criteria."""
    from onnxprune.importance import batchnorm, geometric, magnitude, random, taylor  # noqa: F401


def score_units(
    name: str,
    model: ir.Model,
    channels: ChannelMap,
    *,
    calibration: Sequence[CalibrationBatch] | None = None,
    reduction: Reduction = "mean",
    normalise: Normalisation = "mean",
    seed: int = 0,
) -> np.ndarray:
    """Score every unit.

    Each axis of each tensor gives a vector of scores; gradients aside, its scale says nothing about its layer, so it
    is divided by its mean. A unit's score is the reduction over all its slices, divided, to compare layers, by its
    group's mean (or maximum).

    Args:
        name: The criterion.
        model: A normalised model.
        channels: Its analysis.
        calibration: Batches of samples, for criteria that need data.
        reduction: How a unit's slices become one score.
        normalise: What a group's scores are divided by.
        seed: Seed of anything random.

    Returns:
        Scores, shape (units,), finite and >= 0; higher is more important.

    Raises:
        CriterionError: The criterion is unknown, or what it needs is not there.
    """
    chosen = criterion(name)
    if chosen.needs == "data" and not calibration:
        raise CriterionError(
            f"importance '{name}' needs calibration data: give --data, or choose one that needs none "
            f"({', '.join(c.name for c in criteria() if c.needs == 'nothing')})"
        )
    inputs = CriterionInputs(model, channels, calibration, seed)
    scores = _reduce(chosen.slices(inputs), channels.unit_count, reduction)
    return _normalise(scores, channels, normalise)


def _reduce(slices: Iterator[SliceScores], unit_count: int, reduction: Reduction) -> np.ndarray:
    total, largest = np.zeros(unit_count), np.zeros(unit_count)
    count = np.zeros(unit_count)
    for item in slices:
        mean = float(item.scores.mean())
        relative = item.scores / mean if mean > 0 else np.zeros_like(item.scores)
        free = item.units >= 0
        units, values = item.units[free], relative[free].astype(np.float64)
        total += np.bincount(units, values**2 if reduction == "l2" else values, minlength=unit_count)
        count += np.bincount(units, minlength=unit_count)
        np.maximum.at(largest, units, values)
    if reduction == "max":
        return largest
    if reduction == "sum":
        return total
    if reduction == "l2":
        return np.sqrt(total)
    # A unit that no weight carries (a bare constant) counts as average.
    return np.divide(total, count, out=np.ones(unit_count), where=count > 0)


def _normalise(scores: np.ndarray, channels: ChannelMap, how: Normalisation) -> np.ndarray:
    if how == "none":
        return scores
    result = scores.copy()
    for group in channels.groups:
        own = scores[group.units]
        scale = float(own.max() if how == "max" else own.mean())
        result[group.units] = own / scale if scale > 0 else 1.0
    return result


def labelled_weights(
    inputs: CriterionInputs,
) -> Iterator[tuple[str, np.ndarray, list[tuple[int, np.ndarray]]]]:
    """Yield the contraction weights that carry units: name, array, and (axis, units) of each labelled axis."""
    for name, axes in inputs.channels.axes.items():
        value = inputs.model.graph.initializers.get(name)
        if value is None or value.const_value is None or len(axes) < 2 or not _is_contracted(value):
            continue
        labelled = [(axis, units) for axis, units in enumerate(axes) if units is not None]
        if labelled:
            array = value.const_value.numpy()
            yield name, array if array.dtype == np.float32 else array.astype(np.float32), labelled


def _is_contracted(value: ir.Value) -> bool:
    for node, _ in value.uses():
        if node.op_type in _CONTRACTIONS:
            return True
        if node.op_type in _MOVES and any(_is_contracted(output) for output in node.outputs):
            return True
    return False


def over_other_axes(array: np.ndarray, axis: int) -> tuple[int, ...]:
    """Return all axes but one."""
    return tuple(i for i in range(array.ndim) if i != axis)
