"""How much each unit matters: one score a unit, from weights, from gradients, or by chance.

A criterion scores the slices of weight tensors that belong to a unit, on output and on input axes; `score_units`
makes the tensors comparable, reduces a unit's slices to one score, and normalises each group.
"""

from onnxprune.importance.criteria import (
    Criterion,
    CriterionInputs,
    SliceScores,
    criteria,
    criterion,
    score_units,
)

__all__ = ["Criterion", "CriterionInputs", "SliceScores", "criteria", "criterion", "score_units"]
