"""What a model takes: its real inputs, concrete sizes for them, and random arrays to feed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.errors import InputShapeError, UnsupportedModelError

_RECURRENT, _LENGTHS = frozenset({"GRU", "LSTM", "RNN"}), 4
# Tokens, or their embeddings; pictures have more axes.
_SEQUENCE_RANK = 3


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: The input's name in the graph.
        shape: One entry an axis: its size, the name of a dynamic dimension, or None where nothing is known.
        dtype: The element type.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: np.dtype


def input_specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """Describe the inputs a caller must feed, initializers excluded.

    Raises:
        UnsupportedModelError: An input is no tensor, or its rank is unknown.
    """
    return tuple(_spec(value) for value in model.graph.inputs if not value.is_initializer())


def output_names(model: ir.Model) -> tuple[str, ...]:
    """Return the names of the model's outputs, in order."""
    return tuple(str(value.name) for value in model.graph.outputs)


def _spec(value: ir.Value) -> InputSpec:
    if value.dtype is None:
        raise UnsupportedModelError(f"input '{value.name}' is not a tensor")
    if value.shape is None:
        raise InputShapeError(
            f"the rank of input '{value.name}' is unknown; give it, e.g. --input-shape {value.name}:1x3x224x224"
        )
    dims = tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return InputSpec(str(value.name), dims, np.dtype(value.dtype.numpy()))


def resolve_input_shapes(
    model: ir.Model, input_shapes: Mapping[str, Sequence[int]] | None = None, batch: int = 1
) -> dict[str, tuple[int, ...]]:
    """Find the concrete size of every input.

    Args:
        model: A loaded model.
        input_shapes: Sizes by input name, for dynamic dimensions other than the batch.
        batch: Size of a dynamic first axis.

    Returns:
        The shape of each input.

    Raises:
        InputShapeError: A dynamic dimension has no size.
    """
    given = dict(input_shapes or {})
    return {spec.name: _concrete(spec, given.get(spec.name), batch) for spec in input_specs(model)}


def _concrete(spec: InputSpec, given: Sequence[int] | None, batch: int) -> tuple[int, ...]:
    sizes: list[int] = []
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, int):
            sizes.append(dim)
        elif given is not None and axis < len(given) and given[axis] > 0:
            sizes.append(given[axis])
        elif axis == 0:
            sizes.append(batch)
        else:
            shown = "x".join(str(d) if isinstance(d, int) else "?" for d in spec.shape)
            usual = "224" if len(spec.shape) > _SEQUENCE_RANK else "128"
            example = "x".join(
                str(d) if isinstance(d, int) else ("1" if i == 0 else usual) for i, d in enumerate(spec.shape)
            )
            raise InputShapeError(
                f"input '{spec.name}' has a dynamic size ({shown}, axis {axis}"
                f"{f' {dim!r}' if dim else ''}); say which to use, e.g. --input-shape {spec.name}:{example}"
            )
    return tuple(sizes)


def other_input_shapes(
    model: ir.Model, input_shapes: Mapping[str, Sequence[int]]
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield other sizes that a model of dynamic sizes may take, likely ones first; the first axis stays as it is.

    Pictures often have to be multiples of 32, and sequences are no longer than their positions. Where all sizes are
    declared dynamic, those of channels are not.

    Args:
        model: A loaded model.
        input_shapes: The concrete shape of each input.
    """
    first = {name: tuple(sizes) for name, sizes in input_shapes.items()}
    tried = [first]
    for smaller in (lambda size: size - 32 if size > 64 else size // 2, lambda size: size // 2, lambda size: size - 1):
        for kept in (1, 2):
            other = {spec.name: _changed(spec, first[spec.name], smaller, kept) for spec in input_specs(model)}
            if other not in tried:
                tried.append(other)
                yield other


def _changed(spec: InputSpec, sizes: Sequence[int], smaller: Callable[[int], int], kept: int) -> tuple[int, ...]:
    return tuple(
        size if axis < kept or isinstance(spec.shape[axis], int) else max(smaller(size), 1)
        for axis, size in enumerate(sizes)
    )


def samples_of(input_shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the samples of one run: the first axis of the first input that has several.

    Args:
        input_shapes: The concrete shape of each input.
    """
    return next((shape[0] for shape in input_shapes.values() if len(shape) > 1), 1)


def shown_sizes(input_shapes: Mapping[str, Sequence[int]]) -> str:
    """Write sizes as `--input-shape` takes them: x:1x3x8x8, mask:1x8."""
    return ", ".join(f"{name}:{'x'.join(map(str, sizes))}" for name, sizes in input_shapes.items())


def random_inputs(model: ir.Model, input_shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, np.ndarray]:
    """Draw standard normal floats (integers: 0 and 1, booleans: either) for every input.

    Lengths of the sequences of a recurrence lie between one step and all, and the first has all.

    Args:
        model: A loaded model.
        input_shapes: The concrete shape of each input.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    steps = dict(_steps(model, input_shapes))
    feeds: dict[str, np.ndarray] = {}
    for spec in input_specs(model):
        shape = tuple(input_shapes[spec.name])
        # bfloat16 is no floating type to NumPy.
        if np.issubdtype(spec.dtype, np.floating) or spec.dtype == ir.DataType.BFLOAT16.numpy():
            feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        elif spec.name in steps:
            feeds[spec.name] = rng.integers(1, steps[spec.name] + 1, shape).astype(spec.dtype)
            feeds[spec.name].flat[:1] = steps[spec.name]
        else:
            feeds[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
    return feeds


def _steps(model: ir.Model, input_shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int]]:
    """Yield the inputs that are lengths of sequences, and how many steps those have."""
    sizes = {
        dim: size
        for spec in input_specs(model)
        for dim, size in zip(spec.shape, input_shapes[spec.name], strict=True)
        if isinstance(dim, str)
    }
    for node in model.graph:
        if node.op_type not in _RECURRENT or len(node.inputs) <= _LENGTHS or node.inputs[0] is None:
            continue
        lengths = node.inputs[_LENGTHS]
        while lengths is not None and (made_by := lengths.producer()) is not None:
            lengths = made_by.inputs[0] if made_by.op_type in {"Cast", "Identity"} else None
        shape = node.inputs[0].shape
        if lengths is None or not lengths.is_graph_input() or shape is None:
            continue
        dim = shape[node.attributes.get_int("layout", 0)]
        steps = dim if isinstance(dim, int) else sizes.get(str(dim.value))
        if steps is not None:
            yield str(lengths.name), steps
