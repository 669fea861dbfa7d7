"""Prove a removal: the pruned graph must compute what the original computes with the removed units silenced.

In the original, the entries of removed units are set to zero right before each contraction sums over them.
Nothing else can carry them to an output, so the outputs must equal the pruned graph's for any input. This needs no
data and no knowledge of the architecture.

Half-precision models are compared in float32 copies: rounding would hide what is wrong, and onnxruntime's CPU has no
kernels for bfloat16. Of quantised models copies that do not round are compared as well, and alone where the models do
not agree as they are: sums in another order may have been rounded to the next step. What draws random numbers is given
the same seeds in both.

Where sizes behind the batch are dynamic, the two are compared at others as well, if the original runs there.

What an output is put together of is compared too, each on its own scale, and so is what sums over removed units: of
queries and keys with small weights, say, outputs show next to nothing. Where an output says nothing, since it is the
same everywhere or nowhere finite, a value before it is compared as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxprune.channels.evidence import (
    Evidence,
    blind_outputs,
    compared_where_kept,
    evidence_before,
    parts,
    products,
    saturates,
    scale_of,
)
from onnxprune.channels.layer_norms import normalise_what_stays
from onnxprune.channels.map import ChannelMap, Contraction
from onnxprune.channels.ops.rules import opset
from onnxprune.channels.registry import Removal
from onnxprune.channels.running import run_model
from onnxprune.errors import UnsupportedModelError, VerificationError
from onnxprune.graph.draws import draws_repeated
from onnxprune.graph.formats import HALVES, element_types, in_float32
from onnxprune.graph.inputs import (
    other_input_shapes,
    output_names,
    random_inputs,
    resolve_input_shapes,
    shown_sizes,
)
from onnxprune.graph.quantised import is_quantised
from onnxprune.graph.rounding import without_rounding
from onnxprune.graph.shape_values import add_initializer

TOLERANCE = 1e-4
_CHOSEN = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
_WHERE_SINCE = 9
_ROUNDED_ONLY = (
    "verification: the int8 network could not be run without its rounding, so a difference that rounding hides would "
    "not show"
)
Compared = Literal["as they are", "in float32", "without rounding"]


@dataclass(frozen=True)
class Verification:
    """How far the pruned graph's outputs are from the silenced original's.

    Attributes:
        relative_error: Largest absolute difference, over the largest absolute value of that output.
        output: The output where it occurs, or a value that it is put together of, or one before.
        tolerance: What was allowed.
        compared: What was run: the models as they are, or copies of both.
        notes: Which outputs say nothing on random inputs, and what was compared instead; whether no other size was run.
        sizes: At which sizes the models ran, in the form of `--input-shape`.
    """

    relative_error: float
    output: str
    tolerance: float
    compared: Compared = "as they are"
    notes: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.relative_error <= self.tolerance


def verify(
    model: ir.Model,
    channels: ChannelMap,
    keep: np.ndarray,
    pruned: ir.Model,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Compare a pruned model with its silenced original on random inputs, in onnxruntime.

    Args:
        model: The original.
        channels: Its analysis.
        keep: Which units stayed, shape (units,).
        pruned: What surgery made of it.
        input_shapes: Sizes of dynamic inputs; a dynamic batch is 2, so that mixing samples would show.
        seed: Seed of the inputs.
        tolerance: Largest relative error allowed.

    Returns:
        The error, within the tolerance.

    Raises:
        VerificationError: The outputs differ; the analysis of some operator is wrong.
    """
    whole, small = in_float32(draws_repeated(model)), in_float32(draws_repeated(pruned))
    shapes = resolve_input_shapes(model, input_shapes, batch=2)
    silenced, nodes = silence(whole, channels, keep), {c.node for c, _ in _silenced(whole, channels, keep)}
    sums = tuple(products(silenced, nodes, shapes))
    pair = _Pair(silenced, small, Removal(channels, keep, {}), sums, tolerance)

    def compared_at(shapes: Mapping[str, Sequence[int]]) -> Verification:
        found = replace(_compared(pair, random_inputs(whole, shapes, seed)), sizes=(shown_sizes(shapes),))
        halves = found.compared == "as they are" and element_types(model) & HALVES
        return replace(found, compared="in float32") if halves else found

    found, others = [compared_at(shapes)], list(other_input_shapes(model, shapes))
    for other in others:
        # Not every size is one that the network takes.
        with contextlib.suppress(UnsupportedModelError):
            found.append(compared_at(other))
            break
    worst = max(found, key=lambda one: one.relative_error)
    if not worst.passed:
        kind = "output" if worst.output in output_names(model) else "the inner value"
        raise VerificationError(
            f"the pruned model differs from the silenced original: {kind} '{worst.output}' by "
            f"{worst.relative_error:.2g} (allowed {tolerance:.0e}) at {worst.sizes[0]}. This is a defect of onnxprune: "
            "nothing was written; please report the model's architecture"
        )
    notes = found[0].notes if len(found) > 1 or not others else (*found[0].notes, _one_size(found[0]))
    return replace(worst, notes=notes, sizes=tuple(size for one in found for size in one.sizes))


@dataclass(frozen=True)
class _Pair:
    """What is compared.

    Attributes:
        silenced: The original with the removed units silenced.
        pruned: The pruned model.
        removal: Which units stay.
        sums: Names of what sums over removed units.
        tolerance: Largest relative error allowed.
    """

    silenced: ir.Model
    pruned: ir.Model
    removal: Removal
    sums: tuple[str, ...]
    tolerance: float


def _compared(pair: _Pair, feeds: Mapping[str, np.ndarray]) -> Verification:
    """Compare two models; where they are quantised, copies that do not round too."""
    if not is_quantised(pair.silenced):
        return _worst(pair, feeds)
    # Sums that are rounded to another step differ by more than outputs may.
    rounded = _worst(replace(pair, sums=()), feeds)
    copies = without_rounding(pair.silenced), without_rounding(pair.pruned)
    if copies[0] is None or copies[1] is None:
        return replace(rounded, notes=(*rounded.notes, _ROUNDED_ONLY))
    try:
        smooth = _worst(replace(pair, silenced=copies[0], pruned=copies[1]), feeds)
    except UnsupportedModelError:
        # What runs on integers only, such as a look-up by them.
        if not rounded.passed:
            raise
        return replace(rounded, notes=(*rounded.notes, _ROUNDED_ONLY))
    return rounded if rounded.passed and smooth.passed else replace(smooth, compared="without rounding")


def _worst(pair: _Pair, feeds: Mapping[str, np.ndarray]) -> Verification:
    """Find the output, or what stands in for it, where two models differ most.

    Raises:
        VerificationError: onnxruntime does not run the pruned model.
    """
    silenced, pruned, removal = pair.silenced, pair.pruned, pair.removal
    outputs = output_names(silenced)
    made = _made(silenced) & _made(pruned) - set(outputs)
    made_of = {output: [part for part in found if part in made] for output, found in parts(silenced).items()}
    scores = [name for value in silenced.graph.outputs for name in saturates(value) or ()]
    made_parts = [part for found in made_of.values() for part in found]
    beside = dict.fromkeys([*made_parts, *(name for name in [*scores, *pair.sums] if name in made)])
    expected, actual = _run_both(pair, feeds, [*outputs, *beside])
    compared = [Evidence(name, expected[name], actual[name]) for name in outputs]
    compared += compared_where_kept(list(beside), expected, actual, removal)
    notes = []
    for output in blind_outputs(silenced, compared, made_of):
        instead = evidence_before(output, silenced, pruned, feeds, removal)
        compared += [] if instead is None else [instead]
        notes.append(_note(output, instead))
    worst, floors = Verification(0.0, "", pair.tolerance), _scale_floors(silenced, expected)
    for one in compared:
        error = relative_error(one.expected, one.actual, floor=floors.get(one.name, 0.0))
        if error > worst.relative_error:
            worst = Verification(error, one.name, pair.tolerance)
    return replace(worst, notes=tuple(notes))


def _made(model: ir.Model) -> set[str]:
    return {str(value.name) for node in model.graph for value in node.outputs}


def _run_both(
    pair: _Pair, feeds: Mapping[str, np.ndarray], names: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the named values of both models."""
    expected = dict(zip(names, run_model(pair.silenced, feeds, names), strict=True))
    try:
        return expected, dict(zip(names, run_model(pair.pruned, feeds, names), strict=True))
    except UnsupportedModelError as reason:
        raise VerificationError(
            f"onnxruntime runs the original but not the pruned model, which is a defect of onnxprune: nothing was "
            f"written; please report the model's architecture ({reason})"
        ) from reason


def _note(output: str, instead: Evidence | None) -> str:
    found = (
        "and no value before it was found that does: nothing says that it is right"
        if instead is None
        else f"so value '{instead.name}' before it was compared, and what lies between was not"
    )
    return f"verification: output '{output}' says nothing on random inputs (all the same, or not finite), {found}"


def _one_size(proof: Verification) -> str:
    return (
        "verification: the network ran at none of the other sizes that were tried, so it is proved at "
        f"{proof.sizes[0]} only"
    )


def _scale_floors(model: ir.Model, values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the scales of probabilities, 0 to 1 or that of the scores whose rounding shows in them, by their names."""
    floors: dict[str, float] = {}
    for output in model.graph.outputs:
        names = saturates(output)
        if names is not None:
            scale = scale_of(*(values[name] for name in names)) if set(names) <= set(values) else 1.0
            floors |= {str(output.name): scale, names[1]: scale}
    return floors


def _magnitude(array: np.ndarray) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def relative_error(expected: np.ndarray, actual: np.ndarray, floor: float = 0.0) -> float:
    """Return the largest difference relative to the largest magnitude; infinite where the shapes differ.

    Args:
        expected: The reference.
        actual: What is compared with it.
        floor: Least magnitude that differences are divided by.
    """
    if expected.shape != actual.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if not np.issubdtype(expected.dtype, np.floating):
        # Indices and decisions flip on ties within the floating-point tolerance; many flips are a defect.
        return float(np.mean(expected != actual)) * TOLERANCE / 0.01
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    scale = max(_magnitude(a), floor) or 1.0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    # Equal infinities differ by NaN, which is not looked at.
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max() / scale)


def silence(model: ir.Model, channels: ChannelMap, keep: np.ndarray) -> ir.Model:
    """Return a copy of the model that sets removed units to zero before each contraction.

    A LayerNormalization over removed units takes its statistics over those that stay.
    """
    silenced = model.clone()
    nodes = {node.name: node for node in silenced.graph}
    for contraction, mask in _silenced(model, channels, keep):
        _mask(silenced, nodes[contraction.node], contraction.input_index, contraction.axis, mask)
    normalise_what_stays(silenced, channels, keep)
    return silenced


def _silenced(model: ir.Model, channels: ChannelMap, keep: np.ndarray) -> Iterator[tuple[Contraction, np.ndarray]]:
    """Yield the contractions that sum over removed units, with a 0 for each of those and a 1 for others."""
    read = {node.name: node.inputs for node in model.graph}
    for contraction in channels.contractions:
        value = read[contraction.node][contraction.input_index]
        assert value is not None
        units = channels.axis(str(value.name), contraction.axis)
        if units is None:
            continue
        mask = np.ones(len(units))
        mask[(units >= 0) & ~keep[np.maximum(units, 0)]] = 0
        if not mask.all():
            yield contraction, mask


def _mask(model: ir.Model, node: ir.Node, index: int, axis: int, mask: np.ndarray) -> None:
    value = node.inputs[index]
    assert value is not None
    assert value.dtype is not None
    assert value.shape is not None
    shape = [1] * len(value.shape)
    shape[axis] = len(mask)
    name = f"{node.name}.mask_{index}_{axis}"
    mask = mask.reshape(shape)
    if value.dtype in _CHOSEN and opset(node) >= _WHERE_SINCE:
        # Times zero, what is infinite or NaN would stay NaN.
        condition = add_initializer(model.graph, name, mask != 0)
        zero = add_initializer(model.graph, f"{name}.zero", np.zeros((), value.dtype.numpy()))
        silencing = ir.node("Where", [condition, value, zero])
    else:
        constant = add_initializer(model.graph, name, mask.astype(value.dtype.numpy()))
        silencing = ir.node("Mul", [value, constant])
    silencing.name = f"{node.name}.silence_{index}_{axis}"
    silencing.outputs[0].name = f"{node.name}.silenced_{index}_{axis}"
    silencing.outputs[0].dtype = value.dtype
    silencing.outputs[0].shape = value.shape
    model.graph.insert_before(node, silencing)
    node.replace_input_with(index, silencing.outputs[0])
