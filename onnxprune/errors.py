"""The exception tree.

OnnxPruneError                 anything a user can cause; exit code 1 unless said otherwise
├── ModelError                 the ONNX file cannot be used
│   ├── ModelFileError         missing, a directory, not ONNX, truncated, external data missing or outside its folder
│   ├── UnsupportedModelError  opset, IR version or construct that onnxprune cannot read
│   ├── InputShapeError        an input size is unknown or does not fit
│   ├── WeightError            NaN or infinite weights
│   ├── MismatchError          models that are to be compared have different inputs or outputs
│   └── QuantisedModelError    weights are integers, which cannot be trained or quantised again
├── NothingToPruneError        no channel can be removed; exit code 3
├── VerificationError          removal did not equal silencing: a defect of onnxprune, nothing is written
├── ConfigError                onnxprune.toml cannot be read or says what it may not; exit code 2
├── PatternError               --keep, --only or --ratios names nothing, or contradicts itself; exit code 2
├── TargetError                a target that cannot be read; exit code 2
├── ArgumentError              an argument of the library that is of no use as it is; exit code 2
├── TargetOutOfReachError      a target no structure meets; exit code 3
├── MaxDropExceededError       the result lost more than allowed; exit code 4
├── RegressionError            a model became slower than --max-regression allows; exit code 5
├── BaselineError              a baseline of bench --compare that cannot be used
├── DataError                  calibration or training data that is missing or does not fit
├── CriterionError             an importance criterion that is unknown or lacks what it needs
├── DeviceError                a provider or device that cannot run the model
│   └── InputsError            it can, but not on these inputs
├── ConversionError            a graph that PyTorch cannot represent
├── QuantisationError          a network that onnxruntime's tools cannot quantise
├── OutputError                the result cannot be written
├── ReportError                a report that cannot be read
├── RunDirectoryError          a run directory that cannot be used, or holds another run
└── TrainingError              the loss does not stay finite, or nothing can be trained
"""

from __future__ import annotations


class OnnxPruneError(Exception):
    """Base of every error a user can cause; its message says what was wrong, where, and what to do."""

    exit_code = 1


class ModelError(OnnxPruneError):
    """The ONNX file cannot be used."""


class ModelFileError(ModelError):
    """The file is missing, no ONNX model, truncated, or its external data cannot be read."""


class UnsupportedModelError(ModelError):
    """The model uses an opset, IR version or construct that onnxprune cannot read."""


class InputShapeError(ModelError):
    """An input size is unknown, or a given one does not fit the model."""


class WeightError(ModelError):
    """A weight is NaN or infinite."""


class MismatchError(ModelError):
    """Models that are to be compared have different inputs or outputs."""


class QuantisedModelError(ModelError):
    """The weights are integers, which cannot be trained."""


class NothingToPruneError(OnnxPruneError):
    """No channel of the model can be removed."""

    exit_code = 3


class VerificationError(OnnxPruneError):
    """The pruned graph does not compute what the silenced original computes."""


class PatternError(OnnxPruneError):
    """A pattern names no node that makes channels, or contradicts another."""

    exit_code = 2


class ConfigError(OnnxPruneError):
    """`onnxprune.toml` cannot be read, or holds a key or a value that means nothing."""

    exit_code = 2


class TargetError(OnnxPruneError):
    """A target that cannot be read or makes no sense."""

    exit_code = 2


class ArgumentError(OnnxPruneError):
    """An argument of the library has a type or a value that cannot be meant."""

    exit_code = 2


class TargetOutOfReachError(OnnxPruneError):
    """No structure that pruning can reach meets the target."""

    exit_code = 3


class MaxDropExceededError(OnnxPruneError):
    """The compressed network lost more of its metric than allowed.

    Attributes:
        report: The record of the run, an `onnxprune.report.Report`; None: there is none.
    """

    exit_code = 4

    def __init__(self, message: str, report: object = None) -> None:
        """Keep the record, which may have been written to where nothing can be read."""
        super().__init__(message)
        self.report = report


class RegressionError(OnnxPruneError):
    """A model is slower than its baseline by more than allowed, and not by chance."""

    exit_code = 5


class BaselineError(OnnxPruneError):
    """A baseline is of another device, or holds no latency of the model."""


class DataError(OnnxPruneError):
    """Calibration or training data is missing, unreadable or does not fit the model."""


class MetricValueError(DataError):
    """A user's metric gave no finite number."""


class CriterionError(OnnxPruneError):
    """An importance criterion is unknown or lacks the data it needs."""


class DeviceError(OnnxPruneError):
    """A provider or device is not there or cannot run the model."""


class InputsError(DeviceError):
    """A device loads the model, and does not run it on the inputs it was given."""


class ConversionError(OnnxPruneError):
    """A graph cannot be represented in PyTorch."""


class QuantisationError(OnnxPruneError):
    """onnxruntime's tools cannot quantise a network."""


class OutputError(OnnxPruneError):
    """A result cannot be written."""


class TrainingError(OnnxPruneError):
    """Training cannot go on: its loss is not finite, or there is nothing to train."""


class ReportError(OnnxPruneError):
    """A report is missing, unreadable, or of another schema version."""


class RunDirectoryError(OnnxPruneError):
    """A run directory cannot be used, holds no run, or holds another one."""
