"""Healing and distillation of the pruned network, and its weights back into the ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnxprune.errors import ConversionError
from onnxprune.graph import in_float32, is_quantised, load, random_inputs, save, twin_of
from onnxprune.healing import healed_as_floats, solvable_layers
from onnxprune.pipeline.directory import StageFiles
from onnxprune.pipeline.judging import (
    Heal,
    candidate_healer,
    draft_samples,
    few_batches,
    final_samples,
    healing_batches,
)
from onnxprune.pipeline.modules import module_of
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.structure import Structure
from onnxprune.progress import Observer
from onnxprune.training import Dataset, DataSplits, DistillConfig, EpochRecord, OnEpoch, TrainingHistory

if TYPE_CHECKING:
    from onnxprune.torch_bridge import OnnxModule
    from onnxprune.training import Matcher

# Rounding differs between PyTorch's and onnxruntime's kernels; anything beyond this is a wrong conversion.
EXPORT_TOLERANCE = 1e-3
# On fewer samples than this, solving layers does more harm than good.
_FEWEST_AT_ONCE = 32


@dataclass(frozen=True)
class Trained:
    """The pruned network with its trained weights.

    Attributes:
        model: The ONNX graph, weights replaced.
        healed: The same before training, where it was asked for; else None.
        history: What happened in training.
        export_error: Relative difference between onnxruntime on the graph and the PyTorch module.
        export_max_abs: The largest absolute one.
    """

    model: ir.Model
    healed: ir.Model | None
    history: TrainingHistory
    export_error: float
    export_max_abs: float


@dataclass(frozen=True)
class Lesson:
    """What a pruned network is made of, and whom it learns from.

    Attributes:
        network: The network that was pruned.
        structure: What is left of it.
        teacher: Whose outputs are learned.
        data: Training and validation parts are used; the test part is not.
        files: Where the healed network and the training's checkpoints are kept; None: nowhere.
        heals: Whether weights are corrected in closed form first.
        shows_start: Whether the healed network is wanted too, as training begins with it.
    """

    network: Network
    structure: Structure
    teacher: Network
    data: DataSplits
    files: StageFiles | None = None
    heals: bool = True
    shows_start: bool = False


def train(lesson: Lesson, config: DistillConfig, observer: Observer, on_epoch: OnEpoch | None = None) -> Trained:
    """Give channels the pruned network's statistics again, distil from the teacher, and write the weights back.

    Args:
        lesson: What is trained; its structure is not changed.
        config: How to train.
        observer: Told of every epoch.
        on_epoch: Likewise, with its record.

    Raises:
        ConversionError: PyTorch cannot represent the graph, or computes something else than onnxruntime.
    """
    from onnxprune.torch_bridge import compare, write_weights
    from onnxprune.training import distil, kept_rows

    # Half-precision networks learn in float32; their weights are rounded when they are written back.

    network, data = lesson.network, lesson.data
    pruned, student, own = _healed(lesson, config.seed, observer)
    healed = _start(lesson, student, pruned) if lesson.heals and lesson.shows_start else None
    teacher = own if lesson.teacher is network and own is not None else module_of(network, lesson.teacher.model)
    wide = in_float32(pruned)
    feeds = random_inputs(wide, network.input_shapes, config.seed)
    observer.stage("distilling", 100)
    done = 0

    def tell(record: EpochRecord) -> None:
        nonlocal done
        if on_epoch is not None:
            on_epoch(record)
        percent = round(100 * record.progress)
        score = f", val {record.val.primary_name} {record.val.primary:.2f}" if record.val is not None else ""
        observer.advance(percent - done, note=f"epoch {record.epoch}{score}")
        done = percent

    kept = None
    if config.feature_weight > 0:
        whole = lesson.network
        kept = kept_rows(whole.model, whole.channels, lesson.structure.plan.keep, teacher)
    checkpoint = None if lesson.files is None else lesson.files.checkpoint
    # A module of one batch size takes no smaller batch.
    images = data.train.filled(network.module_batch or 1)
    history = distil(student, teacher, images, data.val, config, on_epoch=tell, checkpoint=checkpoint, kept=kept)
    if history.steps == 0:
        observer.warn("nothing was trained: the time budget was used up before the first step")
    for note in history.notes:
        observer.warn(note)
    model = write_weights(student, pruned)
    difference = compare(student, model if wide is pruned else write_weights(student, wide), feeds)
    _check(difference.relative, "after training")
    return Trained(model, healed, history, difference.relative, difference.max_abs)


def _start(lesson: Lesson, student: OnnxModule, pruned: ir.Model) -> ir.Model:
    """Return the network that training begins with, as it was when it first began."""
    from onnxprune.torch_bridge import write_weights

    files = lesson.files
    if files is not None and files.checkpoint.exists() and files.matched.exists():
        return load(files.matched)
    healed = write_weights(student, pruned)
    if files is not None:
        save(healed, files.matched)
    return healed


def _healed(lesson: Lesson, seed: int, observer: Observer) -> tuple[ir.Model, OnnxModule, OnnxModule | None]:
    """Heal, or take what was healed before: the model, the student, and what was pruned, where it was needed."""
    files = lesson.files
    if files is not None and files.checkpoint.exists() and files.healed.exists():
        pruned = load(files.healed)
        # The statistics that were matched are in the checkpoint.
        return pruned, module_of(lesson.network, pruned), None
    pruned = lesson.structure.pruned
    if lesson.heals:
        observer.stage("healing")
        pruned = candidate_healer(lesson.network, lesson.data.train, seed)(pruned, lesson.structure.plan.keep)
    if files is not None:
        save(pruned, files.healed)
        pruned = load(files.healed)
    student, own = _matched(lesson, pruned, seed, observer)
    return pruned, student, own


def heal(network: Network, structure: Structure, data: DataSplits, seed: int, observer: Observer) -> ir.Model:
    """Correct the pruned network's weights in closed form, without gradients and without labels.

    Args:
        network: The original.
        structure: The pruned network and what of the original it kept; it is not changed. A quantised one gets new
            scales with its new weights.
        data: Calibration samples are drawn of the training part.
        seed: Seed of the samples and positions.
        observer: Told of the stages.

    Raises:
        ConversionError: PyTorch cannot represent the graph, or computes something else than onnxruntime.
    """
    from onnxprune.torch_bridge import compare, write_weights

    if is_quantised(network.model):
        return _heal_integers(network, structure, data, seed, observer)
    pruned, student, _ = _healed(Lesson(network, structure, network, data), seed, observer)
    wide = write_weights(student, in_float32(pruned))
    feeds = random_inputs(wide, network.input_shapes, seed)
    _check(compare(student, wide, feeds).relative, "after healing")
    return write_weights(student, pruned)


def _heal_integers(network: Network, structure: Structure, data: DataSplits, seed: int, observer: Observer) -> ir.Model:
    """Heal the float networks that the integers stand for, and round to scales that suit the result."""
    twin, keep = twin_of(network.model), structure.plan.keep
    if twin is None:
        observer.stage("healing")
        return candidate_healer(network, data.train, seed)(structure.pruned, keep)
    whole = replace(network, model=twin.model)

    def heal_floats(pruned: ir.Model) -> ir.Model:
        return heal(whole, replace(structure, pruned=pruned), data, seed, observer)

    return healed_as_floats(structure.pruned, heal_floats, healing_batches(network, data.train, seed))


def _matched(lesson: Lesson, pruned: ir.Model, seed: int, observer: Observer) -> tuple[OnnxModule, OnnxModule]:
    """Return the healed model as a module with matched statistics, and the network that was pruned as a module."""
    from onnxprune.torch_bridge import compare

    network = lesson.network
    observer.stage("converting to PyTorch")
    wide = in_float32(pruned)
    student, own = module_of(network, pruned), module_of(network, network.model)
    feeds = random_inputs(wide, network.input_shapes, seed)
    _check(compare(student, wide, feeds).relative, "after conversion to PyTorch")
    if lesson.heals and _can_finish(network):
        _match(student, own, network, lesson.structure.plan.keep, data=lesson.data.train, seed=seed)
    return student, own


def _matcher(network: Network, own: OnnxModule, data: Dataset, seed: int, most: int | None = None) -> Matcher:
    """Note what the layers of a network give, so that those of pruned ones can be solved again in order."""
    from onnxprune.training import Matcher, Refit, kept_rows, shared_biases

    whole = np.ones(network.channels.unit_count, dtype=bool)
    layers = kept_rows(network.model, network.channels, whole, own)
    parameters = {initializer: name for name, initializer in own.weight_names.items()}
    found = {parameters[layer.weight]: layer for layer in solvable_layers(network.model) if layer.weight in parameters}
    offsets = {name: parameters[str(layer.offset)] for name, layer in found.items() if layer.offset in parameters}
    refit = Refit(found, offsets, seed)
    samples = data.subset(final_samples(network, most), seed).filled(network.module_batch or 1)
    alone = set(layers) - shared_biases(network.model, own)
    return Matcher(own, alone, samples, batch_size=len(samples), refit=refit)


def _match(
    student: OnnxModule, own: OnnxModule, network: Network, keep: np.ndarray, *, data: Dataset, seed: int
) -> None:
    """Solve the student's layers again, in the order they run, and give its channels the original's statistics."""
    from onnxprune.training import kept_rows

    kept = kept_rows(network.model, network.channels, keep, own)
    _matcher(network, own, data, seed).correct(student, kept)


def final_healer(network: Network, data: Dataset, seed: int, most: int | None = None) -> Heal | None:
    """Return what finishes the healing of a candidate, as the final network gets it.

    Args:
        network: The network that is pruned.
        data: Calibration samples are drawn of these; labels are not used.
        seed: Seed of the samples and positions.
        most: Samples, at most; None: as many as the final network gets.

    Returns:
        The healing; None where there is none: of an int8 network that stands for no float one, or of one that runs so
        few samples at once that layers cannot be solved on them.
    """
    if not is_quantised(network.model):
        return _finisher(network, data, seed, most)
    twin = twin_of(network.model)
    finish = None if twin is None else _finisher(replace(network, model=twin.model), data, seed, most)
    if finish is None:
        return None
    batches = healing_batches(network, data, seed)
    if most is not None:
        batches = few_batches(network, batches)
    return lambda pruned, keep: healed_as_floats(pruned, lambda floats: finish(floats, keep), batches)


def draft_healer(network: Network, data: Dataset, seed: int) -> Heal | None:
    """Return the same on fewer samples, for candidates that are judged; None where that costs more than judging."""
    samples = draft_samples(network)
    return None if samples is None else final_healer(network, data, seed, samples)


def _can_finish(network: Network) -> bool:
    return network.module_batch is None or network.module_batch >= _FEWEST_AT_ONCE


def _finisher(network: Network, data: Dataset, seed: int, most: int | None) -> Heal | None:
    if not _can_finish(network):
        return None
    from onnxprune.torch_bridge import write_weights
    from onnxprune.training import kept_rows

    @cache
    def original() -> tuple[OnnxModule, Matcher]:
        own = module_of(network, network.model)
        return own, _matcher(network, own, data, seed, most)

    def finish(pruned: ir.Model, keep: np.ndarray) -> ir.Model:
        own, matcher = original()
        student = module_of(network, pruned)
        matcher.correct(student, kept_rows(network.model, network.channels, keep, own))
        return write_weights(student, pruned)

    return finish


def _check(error: float, when: str) -> None:
    if error > EXPORT_TOLERANCE:
        raise ConversionError(
            f"PyTorch and onnxruntime differ by {error:.2g} {when} (allowed {EXPORT_TOLERANCE:.0e}): nothing was "
            "written; use 'onnxprune prune' without training, and please report the model's architecture"
        )
