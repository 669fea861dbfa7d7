"""Healing and distillation of the pruned network, and its weights back into the ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxprune.errors import ConversionError
from onnxprune.graph import random_inputs
from onnxprune.pipeline.judging import candidate_healer
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.structure import Structure
from onnxprune.progress import Observer
from onnxprune.training import DataSplits, DistillConfig, EpochRecord, TrainingHistory

if TYPE_CHECKING:
    from onnxprune.torch_bridge import OnnxModule

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
    from onnxprune.torch_bridge import compare, write_weights
    from onnxprune.training import distil

    pruned, student, teacher = _heal(network, structure, data, config.seed, observer)
    feeds = random_inputs(pruned, network.input_shapes, config.seed)
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


def heal(network: Network, structure: Structure, data: DataSplits, seed: int, observer: Observer) -> ir.Model:
    """Correct the pruned network's weights in closed form, without gradients and without labels.

    Args:
        network: The original.
        structure: The pruned network and what of the original it kept; it is not changed.
        data: Calibration samples are drawn of the training part.
        seed: Seed of the samples and positions.
        observer: Told of the stages.

    Raises:
        ConversionError: PyTorch cannot represent the graph, or computes something else than onnxruntime.
    """
    from onnxprune.torch_bridge import compare, write_weights

    pruned, student, _ = _heal(network, structure, data, seed, observer)
    healed = write_weights(student, pruned)
    feeds = random_inputs(pruned, network.input_shapes, seed)
    _check(compare(student, healed, feeds).relative, "after healing")
    return healed


def _heal(
    network: Network, structure: Structure, data: DataSplits, seed: int, observer: Observer
) -> tuple[ir.Model, OnnxModule, OnnxModule]:
    """Return the pruned model with its weights solved again, as a module with matched statistics, and the teacher."""
    from onnxprune.torch_bridge import compare, to_torch
    from onnxprune.training import kept_rows, match_statistics

    keep = structure.plan.keep
    observer.stage("healing")
    pruned = candidate_healer(network, data.train, seed)(structure.pruned, keep)
    observer.stage("converting to PyTorch")
    student, teacher = to_torch(pruned), to_torch(network.model)
    feeds = random_inputs(pruned, network.input_shapes, seed)
    _check(compare(student, pruned, feeds).relative, "after conversion to PyTorch")
    match_statistics(student, teacher, kept_rows(network.model, network.channels, keep, teacher), data.train)
    return pruned, student, teacher


def _check(error: float, when: str) -> None:
    if error > EXPORT_TOLERANCE:
        raise ConversionError(
            f"PyTorch and onnxruntime differ by {error:.2g} {when} (allowed {EXPORT_TOLERANCE:.0e}): nothing was "
            "written; use 'onnxprune prune' without training, and please report the model's architecture"
        )
