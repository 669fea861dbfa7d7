"""The first step of every run: the model, its analysis, and concrete sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import onnx_ir as ir

from onnxprune.channels import ChannelMap, Restriction, nothing_left, permitted, unreached_weights
from onnxprune.errors import InputShapeError, NothingToPruneError
from onnxprune.graph import (
    InputSpec,
    concrete_shapes,
    element_types,
    in_float32,
    input_specs,
    load,
    read_unchanged,
    resolve_input_shapes,
)
from onnxprune.latency.providers import PROVIDERS, provider_name

InputShapes = Mapping[str, Sequence[int]]
Picked = TypeVar("Picked")


@dataclass(frozen=True)
class Network:
    """A loaded network and what is known of it.

    Attributes:
        path: The file.
        model: The normalised model.
        channels: Its analysis.
        inputs: What it takes; float32 stands for half precision, to which samples are rounded when the network runs.
        input_shapes: The concrete size of every input, at the batch that latency is measured with.
        shapes: The shape of every value at these sizes.
        judged: Positions of the outputs that it is judged by; None: all.
    """

    path: Path
    model: ir.Model
    channels: ChannelMap
    inputs: tuple[InputSpec, ...]
    input_shapes: dict[str, tuple[int, ...]]
    shapes: dict[str, tuple[int, ...]]
    judged: tuple[int, ...] | None = None

    def picked(self, outputs: Sequence[Picked]) -> Sequence[Picked]:
        """Return those of all outputs that it is judged by."""
        return outputs if self.judged is None else [outputs[position] for position in self.judged]

    @property
    def free_batch_shapes(self) -> dict[str, tuple[int, ...]]:
        """The size of every input with the batch left to who runs it: verification takes 2, so that mixing shows."""
        return {name: (0, *sizes[1:]) for name, sizes in self.input_shapes.items()}

    @property
    def batch(self) -> int:
        """Samples in one run at `input_shapes`: the first axis of the first input that has axes."""
        return next((max(sizes[0], 1) for sizes in self.input_shapes.values() if sizes), 1)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size, where the model leaves no choice."""
        first = next((spec.shape[0] for spec in self.inputs if spec.shape), None)
        return first if isinstance(first, int) else None

    @cached_property
    def module_batch(self) -> int | None:
        """The batch size of its PyTorch module, where that has no choice."""
        if self.fixed_batch is None:
            return None
        from onnxprune.torch_bridge import runs_any_batch

        return None if runs_any_batch(in_float32(self.model), self.fixed_batch) else self.fixed_batch


def read_network(
    path: str | Path,
    input_shapes: InputShapes | None,
    batch: int,
    restriction: Restriction = Restriction(),
) -> Network:
    """Load a model and find its channels.

    Args:
        path: The .onnx file.
        input_shapes: Sizes of dynamic inputs.
        batch: Samples a run, where the model leaves a choice.
        restriction: What the user wants touched.

    Raises:
        PatternError: A pattern names nothing, or contradicts another.
        ModelError: The file cannot be used.
        NothingToPruneError: No channel can be removed; the message has the commonest reasons.
    """
    path = Path(path)
    model = load(path, input_shapes=input_shapes)
    sizes = resolve_input_shapes(model, input_shapes, batch)
    channels = permitted(model, restriction)
    if channels.unit_count == 0:
        raise NothingToPruneError(nothing_left(path, channels.fixed, unreached_weights(model)))
    return Network(path, model, channels, input_specs(in_float32(model)), sizes, concrete_shapes(model, sizes))


def load_models(paths: Sequence[Path], input_shapes: InputShapes | None) -> list[ir.Model]:
    """Load models that are used beside each other, of whose inputs some may have different names.

    Args:
        paths: The .onnx files.
        input_shapes: Sizes of inputs; each model heeds those of the inputs it has.

    Raises:
        InputShapeError: Sizes do not fit a model, or no model has the input.
        ModelError: A file cannot be used.
    """
    given = input_shapes or {}
    names = [value.name for path in paths for value in read_unchanged(path).graph.inputs] if given else []
    for name in given:
        if name not in names:
            shown = ", ".join(dict.fromkeys(map(str, names)))
            raise InputShapeError(f"no model has an input '{name}'; inputs are {shown}")
    return [_loaded(path, given) for path in paths]


def _loaded(path: Path, given: InputShapes) -> ir.Model:
    names = {value.name for value in read_unchanged(path).graph.inputs} if given else set()
    try:
        return load(path, input_shapes={name: sizes for name, sizes in given.items() if name in names})
    except InputShapeError as error:
        raise InputShapeError(f"'{path}': {error}") from error


def runnable(model: ir.Model, provider: str = "cpu") -> ir.Model:
    """Return what onnxruntime can run of a model: its CPU kernels know no bfloat16, so there a float32 copy runs."""
    on_cpu = provider_name(provider) == PROVIDERS["cpu"]
    return in_float32(model) if on_cpu and ir.DataType.BFLOAT16 in element_types(model) else model
