"""Data, metrics and training: what a pruned network is healed with and judged by.

`open_data` reads what the user has (pictures, arrays, a function) and splits it by seed; `evaluate` measures
a network against labels or against the original's outputs; `distil` trains the pruned network to give those
outputs again; a `Matcher` heals without gradients. PyTorch is imported when one of the last two is first used, not
before.
"""

from typing import TYPE_CHECKING, Any

from onnxprune.training.config import DistillConfig, EpochRecord, OnEpoch, TrainingHistory
from onnxprune.training.dataset import Batch, Dataset, DataSplits
from onnxprune.training.divergence import Divergence, diverge
from onnxprune.training.images import check_pictures
from onnxprune.training.judged import as_judged
from onnxprune.training.metrics import (
    Metrics,
    Predict,
    check_labels,
    collect,
    evaluate,
    in_batches_of,
    own_score,
    sized,
)
from onnxprune.training.preprocess import PRESETS, Preprocess, load_preprocess
from onnxprune.training.sources import DataSpec, open_data, open_samples
from onnxprune.training.synthetic import synthetic_data, synthetic_samples
from onnxprune.training.task import MetricFunction, TaskMetric, read_metric

if TYPE_CHECKING:
    from onnxprune.training.devices import module_predict
    from onnxprune.training.distillation import distil
    from onnxprune.training.matching import Matcher, kept_rows, shared_biases
    from onnxprune.training.refit import Refit

__all__ = [
    "PRESETS",
    "Batch",
    "DataSpec",
    "DataSplits",
    "Dataset",
    "DistillConfig",
    "Divergence",
    "EpochRecord",
    "Matcher",
    "MetricFunction",
    "Metrics",
    "OnEpoch",
    "Predict",
    "Preprocess",
    "Refit",
    "TaskMetric",
    "TrainingHistory",
    "as_judged",
    "check_labels",
    "check_pictures",
    "collect",
    "distil",
    "diverge",
    "evaluate",
    "in_batches_of",
    "kept_rows",
    "load_preprocess",
    "module_predict",
    "open_data",
    "open_samples",
    "own_score",
    "read_metric",
    "shared_biases",
    "sized",
    "synthetic_data",
    "synthetic_samples",
]

_NEED_TORCH = {
    "Matcher": "matching",
    "kept_rows": "matching",
    "shared_biases": "matching",
    "Refit": "refit",
    "distil": "distillation",
    "module_predict": "devices",
}


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch when it is first asked for."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
