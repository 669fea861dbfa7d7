"""Healing and distillation of the pruned network, and its weights back into the ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxprune.errors import ConversionError
from onnxprune.graph import random_inputs
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.structure import Structure
from onnxprune.progress import Observer
from onnxprune.training import DataSplits, DistillConfig, EpochRecord, TrainingHistory

# Rounding differs between PyTorch's and onnxruntime's kernels; anything beyond this is a wrong conversion.
EXPORT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Trained:
    """The pruned network with its trained weights.

    Attributes:
        model: The ONNX graph, weights replaced.
        history: What happened in training.
        export_error: Relative difference between onnxruntime on the graph and the PyTorch module.
        export_max_abs: The largest absolute one.
    """

    model: ir.Model
    history: TrainingHistory
    export_error: float
    export_max_abs: float


def train(
    network: Network,
    structure: Structure,
    data: DataSplits,
    config: DistillConfig,
    observer: Observer,
) -> Trained:
    """Give channels the original's statistics again, distil from the original, and write the weights back.

    Args:
        network: The original, the teacher.
        structure: The pruned network and what of the original it kept; it is not changed.
        data: Training and validation parts are used; the test part is not.
        config: How to train.
        observer: Told of every epoch.

    Raises:
        ConversionError: PyTorch cannot represent the graph, or computes something else than onnxruntime.
    """
    from onnxprune.torch_bridge import compare, to_torch, write_weights
    from onnxprune.training import distil, kept_rows, match_statistics

    pruned, keep = structure.pruned, structure.plan.keep
    observer.stage("converting to PyTorch")
    student, teacher = to_torch(pruned), to_torch(network.model)
    feeds = random_inputs(pruned, network.input_shapes, config.seed)
    _check(compare(student, pruned, feeds).relative, "after conversion to PyTorch")
    observer.stage("healing")
    match_statistics(student, teacher, kept_rows(network.model, network.channels, keep, teacher), data.train)
    observer.stage("distilling", 100)
    done = 0

    def on_epoch(record: EpochRecord) -> None:
        nonlocal done
        percent = round(100 * record.progress)
        score = f", val {record.val.primary_name} {record.val.primary:.2f}" if record.val is not None else ""
        observer.advance(percent - done, note=f"epoch {record.epoch}{score}")
        done = percent

    history = distil(student, teacher, data.train, data.val, config, on_epoch=on_epoch)
    for note in history.notes:
        observer.warn(note)
    model = write_weights(student, pruned)
    difference = compare(student, model, feeds)
    _check(difference.relative, "after training")
    return Trained(model, history, difference.relative, difference.max_abs)


def _check(error: float, when: str) -> None:
    if error > EXPORT_TOLERANCE:
        raise ConversionError(
            f"PyTorch and onnxruntime differ by {error:.2g} {when} (allowed {EXPORT_TOLERANCE:.0e}): nothing was "
            "written; use 'onnxprune prune' without training, and please report the model's architecture"
        )
