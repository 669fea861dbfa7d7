"""Whether samples can be given to a network and told apart in what it gives: both lie along the first axis.

Figures count rows of the outputs, and labels and the original's outputs are held against them row by row. An output of
another number of rows (a mean over the batch, tokens of all samples in one axis, a table of anchors) gives figures that
mean nothing, and only after hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnxprune.errors import DataError, DeviceError
from onnxprune.graph import InputSpec, output_names, random_inputs, shown_sizes
from onnxprune.training import Predict

# Two numbers, neither of them 1, so that an output of a fixed size is taken for rows of samples by no chance.
_TRIED = (2, 4)

Shape = tuple[int, ...]


class Tried(NamedTuple):
    """What an output was for a number of samples."""

    samples: int
    shape: Shape


@dataclass(frozen=True)
class Output:
    """An output of a network that was tried on a few samples.

    Attributes:
        name: Its name.
        tried: Its shape for each number of samples.
        dtype: Its type.
    """

    name: str
    tried: tuple[Tried, ...]
    dtype: np.dtype

    @property
    def has_rows(self) -> bool:
        """Whether it has one row a sample."""
        return all(shape[:1] == (samples,) for samples, shape in self.tried)

    def __str__(self) -> str:
        shapes = ", ".join(f"{shape} of {samples} sample{'s' if samples > 1 else ''}" for samples, shape in self.tried)
        return f"output '{self.name}' has no row for each sample (shape {shapes})"


def check_inputs(inputs: Sequence[InputSpec], outputs: Sequence[Sequence[int | str | None]], instead: str = "") -> None:
    """Refuse inputs that no batch of samples can be given to.

    Args:
        inputs: What the network takes.
        outputs: Shapes of what it gives, as far as they are known.
        instead: What needs no samples, for the message.

    Raises:
        DataError: It says which input, and why not.
    """
    for spec in inputs:
        if spec.dtype.kind == "O":
            raise DataError(f"input '{spec.name}' takes text, of which no samples can be made{instead}")
        if not _has_batch_axis(spec, inputs, outputs):
            raise DataError(
                f"input '{spec.name}' has no batch axis: it is {_shown(spec)} whatever the number of samples, so that "
                f"they cannot be given to it; give it a first axis when exporting the model, or make it a constant"
                f"{instead}"
            )


def _has_batch_axis(
    spec: InputSpec, inputs: Sequence[InputSpec], outputs: Sequence[Sequence[int | str | None]]
) -> bool:
    """Whether the first axis counts samples: of a single axis of fixed size it does where another value's is that."""
    if len(spec.shape) != 1 or not isinstance(spec.shape[0], int):
        return len(spec.shape) > 0
    beside = {other.shape[0] for other in inputs if len(other.shape) > 1}
    return spec.shape[0] in (beside or {shape[0] for shape in outputs if len(shape) > 1})


def _shown(spec: InputSpec) -> str:
    return f"of {spec.shape[0]} numbers" if spec.shape else "a single number"


def try_outputs(
    model: ir.Model, predict: Predict, input_shapes: Mapping[str, Sequence[int]], fixed_batch: int | None
) -> tuple[Output, ...]:
    """Run a network on a few random samples.

    Args:
        model: A loaded model.
        predict: Runs it, as many samples as it is given.
        input_shapes: The concrete size of every input; the first axis does not count.
        fixed_batch: The number of samples that it runs, where it leaves no choice.

    Raises:
        DeviceError: It does not run on them.
    """
    counts = _TRIED if fixed_batch is None else (fixed_batch,)
    runs = [_outputs(model, predict, {name: (n, *sizes[1:]) for name, sizes in input_shapes.items()}) for n in counts]
    return tuple(
        Output(name, tuple(Tried(n, o.shape) for n, o in zip(counts, arrays, strict=True)), arrays[0].dtype)
        for name, *arrays in zip(output_names(model), *runs, strict=True)
    )


def _outputs(model: ir.Model, predict: Predict, sizes: Mapping[str, Shape]) -> list[np.ndarray]:
    feeds = random_inputs(model, sizes, seed=0)
    try:
        return [np.asarray(output) for output in predict(tuple(feeds.values()))]
    except DeviceError as error:
        raise DeviceError(
            f"{error}. Its inputs had the sizes {shown_sizes(sizes)}; if it takes others, say which by --input-shape"
        ) from error


def check_outputs(inputs: Sequence[InputSpec], outputs: Sequence[Output], instead: str = "") -> None:
    """Refuse a network of whose outputs one cannot be told apart by sample.

    Args:
        inputs: What it takes.
        outputs: What it gives, from `try_outputs`.
        instead: What needs no samples, for the message.

    Raises:
        DataError: It names the outputs, their shapes and what to do.
    """
    odd = "; ".join(str(output) for output in outputs if not output.has_rows)
    if not odd:
        return
    if _never_rows(outputs):
        first = next(spec for spec in inputs if spec.shape)
        raise DataError(
            f"input '{first.name}' seems to have no batch axis: its first size is {first.shape[0]}, but {odd}; give "
            f"inputs and outputs a first axis for the samples when exporting the model{instead}"
        )
    drop = ", or leave that output out" if any(output.has_rows for output in outputs) else ""
    raise DataError(
        f"{odd}, so that nothing can be said of single samples; export the model with the samples along the first axis "
        f"of every output, such as (N, T, C) instead of (N*T, C){drop}{instead}"
    )


def _never_rows(outputs: Sequence[Output]) -> bool:
    """Whether no output has as many rows as the fixed first size of the inputs, nor several rows for each of these."""
    samples = outputs[0].tried[0].samples
    rows = [shape[0] if shape else 0 for output in outputs for _, shape in output.tried]
    fixed = len(outputs[0].tried) == 1
    return fixed and samples > 1 and all(count == 0 or count % samples for count in rows)


def check_learnable(outputs: Sequence[Output], instead: str = "") -> None:
    """Refuse to train a network whose outputs have no gradient.

    Args:
        outputs: What it gives.
        instead: What needs no training, for the message.

    Raises:
        DataError: All are whole numbers, truth values or text.
    """
    if not any(output.dtype.kind == "f" for output in outputs):
        types = ", ".join(f"'{output.name}' is {output.dtype.name}" for output in outputs)
        raise DataError(
            f"no output of the model is floating point ({types}): there is nothing to distil from; export the scores "
            f"that it decides by as an output{instead}"
        )
