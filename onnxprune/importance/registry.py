"""The protocol of a criterion and the registry."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.errors import CriterionError

Needs = Literal["nothing", "batchnorm", "data"]


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
        on_batch: Called after each batch with the batches done and their number.
    """

    model: ir.Model
    channels: ChannelMap
    calibration: Sequence[CalibrationBatch] | None = None
    seed: int = 0
    on_batch: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class SliceScores:
    """Scores along one axis of one tensor.

    Attributes:
        source: What was scored, as an error message names it.
        units: Unit of each index, shape (size,), -1 where fixed.
        scores: Score of each index, shape (size,), >= 0.
    """

    source: str
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
        zero_is_dead: Whether a channel with a score of 0 says nothing; else it only is like the others.
    """

    name: str
    summary: str
    needs: Needs
    slices: Callable[[CriterionInputs], Iterator[SliceScores]]
    zero_is_dead: bool = True


_CRITERIA: dict[str, Criterion] = {}


def register(criterion: Criterion) -> Criterion:
    """Add a criterion under its name.

    Raises:
        ValueError: The name is taken.
    """
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
        hint = f"; did you mean '{close[0]}'?" if close else "."
        raise CriterionError(f"unknown importance '{name}'{hint} Known are {', '.join(sorted(_CRITERIA))}")
    return _CRITERIA[name]


def _load() -> None:
    """Import the families, each of which registers its criteria."""
    from onnxprune.importance import batchnorm, geometric, magnitude, random, reconstruction, taylor  # noqa: F401
