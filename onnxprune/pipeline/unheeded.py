"""What a run is told and does not heed: said, where it could be meant, and refused where it could not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onnxprune.errors import DataError
from onnxprune.graph import shown_sizes
from onnxprune.pipeline.opening import judged_alone
from onnxprune.pipeline.planning import Choice
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.published import PUBLISHED_OPTIMIZER
from onnxprune.pipeline.settings import Settings
from onnxprune.search import AGENTS, RlPrunerConfig
from onnxprune.training import DataSplits, DistillConfig
from onnxprune.training.layout import is_float

_PICTURE_AXES = 4


def check_without_data(settings: Settings) -> None:
    """Refuse what asks for data where there is none: parts of it, and what is judged or calibrated on it.

    Raises:
        DataError: There is such a setting.
    """
    parts = {"--val": settings.val, "--test": settings.test}
    given = [option for option, part in parts.items() if part is not None]
    if settings.data is None and given:
        raise DataError(f"{' and '.join(given)} without --data: give the training part too, as --data")
    if settings.data is None and settings.allocation in AGENTS:
        raise DataError(
            f"allocation '{settings.allocation}' judges candidates on samples: give data (--data), or take 'global' or "
            "'uniform'"
        )
    if settings.data is None and settings.quantize is not None:
        raise DataError("int8 takes the ranges of activations on samples: give data (--data); labels are not needed")
    if settings.data is None and settings.max_drop is not None:
        # Random inputs, which training takes instead, tell nothing of what was lost: a limit on them holds nothing.
        raise DataError("--max-drop needs --data: without data the accuracy that pruning costs is not measured")


def batch_note(model: Path, input_shapes: Mapping[str, Sequence[int]], batch: int) -> Iterator[str]:
    """Say that a batch has no effect on a model, where it was asked for and no input has it.

    Args:
        model: The model's file.
        input_shapes: Sizes of the model's inputs.
        batch: What was asked for; 1, the default, is no wish.
    """
    if batch == 1 or any(tuple(sizes[:1]) == (batch,) for sizes in input_shapes.values()):
        return
    yield (
        f"--batch {batch} has no effect on '{model}': the model, or --input-shape, fixes its inputs' sizes; it is "
        f"measured with {shown_sizes(input_shapes)}"
    )


def unheeded(settings: Settings, choice: Choice, network: Network, data: DataSplits | None) -> Iterator[str]:
    """Say which options have no effect on a run.

    Args:
        settings: What it is told.
        choice: How it chooses the structure.
        network: The model.
        data: Its data, or None.
    """
    yield from batch_note(network.path, network.input_shapes, settings.measure.batch)
    if settings.search is not None and not choice.searches:
        yield f"--search-budget has no effect: it is for the allocations rl and random, {_allocation(settings, choice)}"
    if settings.rl_pruner != RlPrunerConfig() and choice.source != "rl-pruner":
        yield f"--rl-pruner has no effect: it is for the allocation rl-pruner, {_allocation(settings, choice)}"
    if choice.source == "rl-pruner":
        yield from _unpublished(settings)
    if settings.calibration != "minmax" and settings.quantize is None:
        yield "--calibration has no effect: it is for --quantize, and nothing is quantised here"
    if settings.training is not None:
        yield from _untrained(settings.training, network)
    if settings.preprocess is not None and settings.data is None:
        yield "--preprocess has no effect: it is for --data, and there is none here"
    if settings.teacher == "better" and data is not None and not judged_alone(network, data.val):
        what = "labels" if not data.val.labelled else "class scores that the labels are for"
        yield (
            f"--teacher better has no effect: without {what}, or --metric, nothing tells which network is the better; "
            "every stage learns from the original"
        )


def _untrained(training: DistillConfig, network: Network) -> Iterator[str]:
    """Say which wishes for the training there is nothing for."""
    pictures = any(len(spec.shape) == _PICTURE_AXES and is_float(spec) for spec in network.inputs)
    if training.augment and not pictures:
        yield f"--augment {' '.join(training.augment)} has no effect: it is for pictures of floats (four axes)"


def stages_note(settings: Settings, choice: Choice, count: int) -> Iterator[str]:
    """Say what the number of stages leaves without effect, or changes.

    Args:
        settings: What the run is told.
        choice: How it chooses the structure; rl-pruner's stages are not counted before.
        count: How many stages it takes.
    """
    if choice.counts is None and choice.allocation == "rl-pruner":
        return
    epochs = None if settings.training is None else settings.training.epochs
    if settings.teacher != "original" and count == 1:
        yield f"--teacher {settings.teacher} has no effect: it is for the stages after the first, and there is one here"
    if epochs is not None and count > epochs:
        yield f"--epochs {epochs} is less than one for each of the {count} stages: each trains one"


def _unpublished(settings: Settings) -> Iterator[str]:
    """Say what the published algorithm has its own of."""
    if settings.stages is not None:
        yield (
            "--stages has no effect: the allocation rl-pruner takes as many as the target asks for, each of a share of "
            f"the filters, {settings.rl_pruner.share:g} here (--rl-pruner share=...)"
        )
    if settings.round_to not in (None, 1):
        yield f"--round-to {settings.round_to} has no effect: the allocation rl-pruner removes single filters"
    if settings.optimizer not in (None, PUBLISHED_OPTIMIZER):
        own = PUBLISHED_OPTIMIZER
        yield f"--optimizer {settings.optimizer} has no effect: the allocation rl-pruner trains by {own}"


def _allocation(settings: Settings, choice: Choice) -> str:
    if choice.counts is not None:
        return f"and here the {choice.known_by} say what goes"
    default = "" if settings.allocation is not None else ", the default for what is given (rl needs --data)"
    return f"and the one here is {choice.source}{default}"
