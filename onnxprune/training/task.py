"""A user's own metric: what a network is for, where that is neither classes nor the original's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxprune.errors import ArgumentError, DataError, MetricValueError
from onnxprune.training.functions import current_folder_importable, failure, find_function, names_function

_LONGEST_TEXT = 60

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
            with current_folder_importable():
                value = self.function(outputs[0] if len(outputs) == 1 else tuple(outputs), labels)
        except (Exception, SystemExit) as error:
            raise DataError(f"metric '{self.name}' failed: {failure(error)}") from error
        try:
            score = float(np.asarray(value))
        except Exception as error:
            raise MetricValueError(
                f"metric '{self.name}' gave {_described(value, error)}; it must give one number, higher for better"
            ) from error
        if not math.isfinite(score):
            raise MetricValueError(
                f"metric '{self.name}' gave {score}; it must give a finite number, higher for better"
            )
        return score


def _described(value: object, error: Exception) -> str:
    """Say what a value is that the error keeps from being a number."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the text {value[:_LONGEST_TEXT]!r}"
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape}"
    kind, shape = type(value).__name__, tuple(getattr(value, "shape", ()))
    if shape:
        return f"a {kind} of shape {shape}"
    if isinstance(value, list | tuple | dict):
        return f"a {kind} of {len(value)} values"
    return f"what cannot be read as a number ({kind}: {error})"


def read_metric(spec: str | MetricFunction | None) -> TaskMetric | None:
    """Find a metric.

    Args:
        spec: `package.module:function`, importable or in the current folder; a function; None: no metric.

    Raises:
        ArgumentError: It reads like no function's name.
        DataError: There is no such function.
    """
    if spec is None:
        return None
    if not isinstance(spec, str):
        return TaskMetric(getattr(spec, "__name__", "metric"), spec)
    if not names_function(spec):
        raise ArgumentError(f"metric '{spec}' cannot be read; write it like package.module:function")
    with current_folder_importable():
        return TaskMetric(spec, find_function(spec, "--metric"))
