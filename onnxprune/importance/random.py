"""Chance, as the baseline every criterion must beat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxprune.importance.registry import Criterion, CriterionInputs, SliceScores, register


def _chance(inputs: CriterionInputs) -> Iterator[SliceScores]:
    count = inputs.channels.unit_count
    yield SliceScores("chance", np.arange(count), np.random.default_rng(inputs.seed).uniform(0.5, 1.5, count))


register(Criterion("random", "a seeded random number", "nothing", _chance))
