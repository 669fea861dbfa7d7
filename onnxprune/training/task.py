"""A user's own metric: what a network is for, where that is neither classes nor the original's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxprune.errors import DataError, MetricValueError
from onnxprune.training.functions import current_folder_importable, find_function, names_function

MetricFunction = Callable[[Any, Any], float]
"""(outputs, labels) -> points, higher is better; see `TaskMetric`."""


@dataclass(frozen=True)
class TaskMetric:
    """A function that says how good outputs are.

    Attributes:
        name: What reports call it.
        function: Takes the outputs of all samples (an array, or a tuple of arrays where the model has several
            outputs, samples along the first axis) and their labels as the data has them (None without any), and
            returns a number, higher for better, in percent by convention.
    """

    name: str
    function: MetricFunction

    def score(self, outputs: Sequence[Any], labels: Any) -> float:
        """Judge the outputs of a dataset.

        Raises:
            DataError: The function fails.
            MetricValueError: It gives no finite number.
        """
        try:
            value = self.function(outputs[0] if len(outputs) == 1 else tuple(outputs), labels)
            score = float(np.asarray(value))
        except Exception as error:
            raise DataError(f"metric '{self.name}' failed: {type(error).__name__}: {error}") from error
        if not math.isfinite(score):
            raise MetricValueError(
                f"metric '{self.name}' gave {score}; it must give a finite number, higher for better"
            )
        return score


def read_metric(spec: str | MetricFunction | None) -> TaskMetric | None:
    """Find a metric.

    Args:
        spec: `package.module:function`, importable or in the current folder; a function; None: no metric.

    Raises:
        DataError: There is no such function.
    """
    if spec is None:
        return None
    if not isinstance(spec, str):
        return TaskMetric(getattr(spec, "__name__", "metric"), spec)
    if not names_function(spec):
        raise DataError(f"metric '{spec}' cannot be read; write it like package.module:function")
    with current_folder_importable():
        return TaskMetric(spec, find_function(spec, "--metric"))
