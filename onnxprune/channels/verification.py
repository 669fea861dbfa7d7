"""Prove a removal: the pruned graph must compute what the original computes with the removed units silenced.

In the original, the entries of removed units are set to zero right before each contraction sums over them.
Nothing else can carry them to an output, so the outputs must equal the pruned graph's for any input. This needs no
data and no knowledge of the architecture.

Half-precision models are compared in float32 copies: rounding would hide what is wrong, and onnxruntime's CPU has no
kernels for bfloat16. Where quantised models do not agree exactly, sums in another order may have been rounded to the
next step, so copies that do not round are compared. What draws random numbers is given the same seeds in both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxprune.channels.layer_norms import normalise_what_stays
from onnxprune.channels.map import ChannelMap
from onnxprune.channels.ops.rules import opset
from onnxprune.errors import UnsupportedModelError, VerificationError
from onnxprune.graph.draws import draws_repeated
from onnxprune.graph.formats import HALVES, element_types, in_float32
from onnxprune.graph.inputs import output_names, random_inputs, resolve_input_shapes
from onnxprune.graph.quantised import is_quantised
from onnxprune.graph.rounding import without_rounding
from onnxprune.graph.save import save_beside
from onnxprune.graph.shape_values import add_initializer

TOLERANCE = 1e-4
_CHOSEN = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
_WHERE_SINCE = 9
Compared = Literal["as they are", "in float32", "without rounding"]
_SATURATING = frozenset({"Sigmoid", "Softmax", "HardSigmoid"})


@dataclass(frozen=True)
class Verification:
    """How far the pruned graph's outputs are from the silenced original's.

    Attributes:
        relative_error: Largest absolute difference, over the largest absolute value of that output.
        output: The output where it occurs, or the value that its last Sigmoid or Softmax reads.
        tolerance: What was allowed.
        compared: What was run: the models as they are, or copies of both.
    """

    relative_error: float
    output: str
    tolerance: float
    compared: Compared = "as they are"

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
    feeds = random_inputs(whole, resolve_input_shapes(model, input_shapes, batch=2), seed)
    silenced = silence(whole, channels, keep)
    compared: Compared = "in float32" if element_types(model) & HALVES else "as they are"
    worst = replace(_worst(silenced, small, feeds, tolerance), compared=compared)
    if not worst.passed and is_quantised(model):
        smooth = without_rounding(silenced), without_rounding(small)
        if smooth[0] is not None and smooth[1] is not None:
            worst = replace(_worst(smooth[0], smooth[1], feeds, tolerance), compared="without rounding")
    if not worst.passed:
        raise VerificationError(
            f"the pruned model differs from the silenced original: output '{worst.output}' by "
            f"{worst.relative_error:.2g} (allowed {tolerance:.0e}). This is a defect of onnxprune: nothing was "
            "written; please report the model's architecture"
        )
    return worst


def _worst(silenced: ir.Model, pruned: ir.Model, feeds: Mapping[str, np.ndarray], tolerance: float) -> Verification:
    """Find the output where two models differ most.

    Raises:
        VerificationError: onnxruntime does not run the pruned model.
    """
    names = [*output_names(silenced), *_before_saturation(silenced)]
    expected = run_model(silenced, feeds, names)
    try:
        actual = run_model(pruned, feeds, names)
    except UnsupportedModelError as reason:
        raise VerificationError(
            f"onnxruntime runs the original but not the pruned model, which is a defect of onnxprune: nothing was "
            f"written; please report the model's architecture ({reason})"
        ) from reason
    worst = Verification(0.0, "", tolerance)
    for name, want, got in zip(names, expected, actual, strict=True):
        error = relative_error(want, got, floor=_scale_floor(silenced, name))
        if error > worst.relative_error:
            worst = Verification(error, name, tolerance)
    return worst


def _before_saturation(model: ir.Model) -> list[str]:
    """Name what outputs that saturate are made of: on random inputs a map of probabilities may be 0 everywhere."""
    names = []
    for value in model.graph.outputs:
        producer = value.producer()
        if producer is not None and producer.op_type in _SATURATING and producer.inputs[0] is not None:
            names.append(str(producer.inputs[0].name))
    outputs = set(output_names(model))
    return [name for name in dict.fromkeys(names) if name not in outputs]


def _scale_floor(model: ir.Model, output: str) -> float:
    """Probabilities are compared on their own scale, 0 to 1."""
    value = next((v for v in model.graph.outputs if v.name == output), None)
    producer = value.producer() if value is not None else None
    return 1.0 if producer is not None and producer.op_type in _SATURATING else 0.0


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
    scale = max(float(np.abs(a[np.isfinite(a)]).max(initial=0.0)), floor) or 1.0
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
    read = {node.name: node.inputs for node in model.graph}
    for contraction in channels.contractions:
        node = nodes[contraction.node]
        value = read[contraction.node][contraction.input_index]
        assert value is not None
        units = channels.axis(str(value.name), contraction.axis)
        if units is None:
            continue
        mask = np.ones(len(units))
        mask[(units >= 0) & ~keep[np.maximum(units, 0)]] = 0
        if mask.all():
            continue
        _mask(silenced, node, contraction.input_index, contraction.axis, mask)
    normalise_what_stays(silenced, channels, keep)
    return silenced


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


def run_model(model: ir.Model, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Run a model and return the named values, whether they are outputs or not.

    Raises:
        UnsupportedModelError: onnxruntime does not run it.
    """
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        path = Path(folder) / "model.onnx"
        save_beside(_with_outputs(model, names), path)
        return run_file(path, feeds, names)


def run_file(path: Path, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Run a file and return the named outputs.

    Raises:
        UnsupportedModelError: onnxruntime does not run it.
    """
    try:
        return _run_at(path, feeds, names, "ORT_ENABLE_BASIC")
    except Exception:
        # Some of onnxruntime's rewrites break models that it runs as they are.
        try:
            return _run_at(path, feeds, names, "ORT_DISABLE_ALL")
        except Exception as error:
            raise UnsupportedModelError(f"onnxruntime cannot run the model: {error}") from error


def _run_at(path: Path, feeds: Mapping[str, np.ndarray], names: Sequence[str], level: str) -> list[np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    # Packed copies of the weights would double the memory, for a single run.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(list(names), dict(feeds))]


def _with_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    if set(names) == set(output_names(model)):
        return model
    exposed = model.clone()
    exposed.graph.outputs.extend(
        value for node in exposed.graph for value in node.outputs if value.name in names and not value.is_graph_output()
    )
    return exposed
