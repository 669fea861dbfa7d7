"""How much each unit matters: one score a unit, from weights, from gradients, or by chance.

A criterion scores the slices of weight tensors that belong to a unit, on output and on input axes; `score_units`
makes the tensors comparable, reduces a unit's slices to one score, and normalises each group.
"""

from onnxprune.importance.registry import (
    CalibrationBatch,
    Criterion,
    CriterionInputs,
    SliceScores,
    criteria,
    criterion,
)
from onnxprune.importance.scoring import Normalisation, Reduction, score_units

__all__ = [
    "CalibrationBatch",
    "Criterion",
    "CriterionInputs",
    "Normalisation",
    "Reduction",
    "SliceScores",
    "criteria",
    "criterion",
    "score_units",
]
