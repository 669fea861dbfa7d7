"""What a comparison on random inputs proves, and where to look if outputs prove nothing.

Parts of an output may be larger than others by orders of magnitude, such as what masks it, or boxes beside scores: what
an output is put together of is compared too, each on its own scale.

What was cut from may hardly show in the outputs, such as queries and keys of small weights. So what products and
convolutions sum over removed units is compared as well, again on its own scale; of quantised networks in copies that do
not round.

An output that is the same everywhere, such as a map of zeros behind a Relu, or nowhere finite, is the same whatever was
cut before it. The last value before it of which that is not so is compared in its place, on the entries that stay.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.channels.registry import Removal
from onnxprune.channels.running import run_model
from onnxprune.errors import UnsupportedModelError
from onnxprune.graph.shape_values import shape_values
from onnxprune.graph.shapes import concrete_shapes

_REARRANGING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_SATURATING = frozenset({"Sigmoid", "Softmax", "HardSigmoid"})
# What these give changes wholly where two numbers that are equal but for rounding change places.
_UNSTEADY = frozenset({"ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "TopK", "Unique"})
# Sums over channels alone may cancel but for rounding, as behind a normalisation.
_PRODUCTS = frozenset(
    {"Attention", "Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"}
)
# Of what products give, in one model; comparing takes some times as much.
_MOST_BYTES = 256 << 20
_MOST_AT_ONCE = 64
# What puts values together or moves them, and which inputs hold them.
_PUT_TOGETHER: dict[str, slice] = {
    "Concat": slice(None),
    "Where": slice(1, 3),
    **dict.fromkeys((*_REARRANGING, "Expand", "Gather", "Pad", "Slice", "Split", *_SATURATING), slice(1)),
}
_WITH_CONSTANT = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class Evidence:
    """A value that was compared.

    Attributes:
        name: Of the value.
        expected: What the silenced original gives, on the entries that stay.
        actual: What the pruned network gives.
    """

    name: str
    expected: np.ndarray
    actual: np.ndarray


def saturates(output: ir.Value) -> tuple[str, str] | None:
    """Name what an output's last Sigmoid or Softmax reads and gives; None where there is no such node."""
    producer = output.producer()
    while producer is not None and producer.op_type in _REARRANGING and producer.inputs[0] is not None:
        producer = producer.inputs[0].producer()
    if producer is None or producer.op_type not in _SATURATING or producer.inputs[0] is None:
        return None
    return str(producer.inputs[0].name), str(producer.outputs[0].name)


def scale_of(scores: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the scale that probabilities are compared on: 1, or that of the scores whose rounding shows in them.

    What is added to a score changes its probability p by p (1 - p) of it at most, so masked scores have no part.
    """
    finite = np.isfinite(scores) & np.isfinite(probabilities)
    scores, probabilities = scores[finite].astype(np.float64), probabilities[finite].astype(np.float64)
    shows = 4 * probabilities * (1 - probabilities)
    return float((np.abs(scores) * shows).max(initial=1.0))


def parts(model: ir.Model) -> dict[str, list[str]]:
    """Name what each output is put together of: values of floats that concatenations, masks and moves only pass on."""
    unsteady = _unsteady(model)
    found: dict[str, list[str]] = {}
    for output in model.graph.outputs:
        leaves = dict.fromkeys(_leaves(output))
        found[str(output.name)] = [
            str(value.name) for value in leaves if value is not output and _is_real(value) and value not in unsteady
        ]
    return found


def products(model: ir.Model, nodes: Collection[str], input_shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Name what some nodes compute if they multiply: as much as fits in memory, small values first.

    Args:
        model: The silenced original.
        nodes: Names of nodes that sum over removed units.
        input_shapes: The size of every input.
    """
    if not nodes:
        return []
    unsteady, shapes = _unsteady(model), concrete_shapes(model, input_shapes)
    multiplying = [node for node in model.graph if node.name in nodes and node.op_type in _PRODUCTS]
    # Of a recurrence's outputs the first may be left out.
    given = [next((value for value in node.outputs if value.name), node.outputs[0]) for node in multiplying]
    values = [value for value in given if value not in unsteady and _is_real(value) and value.name in shapes]
    size = {str(value.name): 4 * math.prod(shapes[str(value.name)]) for value in values}
    names = sorted(size, key=size.__getitem__)
    fit = int(np.searchsorted(np.cumsum([size[name] for name in names]), _MOST_BYTES, side="right"))
    return names[:fit]


def _leaves(value: ir.Value) -> Iterator[ir.Value]:
    queue, seen = [value], {value}
    while queue:
        value = queue.pop()
        node = value.producer()
        held = None if node is None else _held(node)
        if held is None:
            yield value
            continue
        fresh = [each for each in held if each is not None and each not in seen and each.producer() is not None]
        seen.update(fresh)
        queue += fresh


def _held(node: ir.Node) -> Sequence[ir.Value | None] | None:
    """Return the inputs whose values a node passes on; None where it computes others."""
    if node.op_type in _WITH_CONSTANT:
        varying = [value for value in node.inputs if value is not None and not value.is_initializer()]
        return varying if len(varying) == 1 else None
    where = _PUT_TOGETHER.get(node.op_type) if not node.domain else None
    return None if where is None else node.inputs[where]


def _is_real(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def compared_where_kept(
    names: Sequence[str],
    silenced: Mapping[str, np.ndarray],
    pruned: Mapping[str, np.ndarray],
    removal: Removal,
) -> Iterator[Evidence]:
    """Yield values on the entries that stay; of a branch that is gone whole nothing is comparable."""
    for name in names:
        stays = _staying(name, silenced[name], removal)
        if stays.shape == pruned[name].shape:
            yield Evidence(name, stays, pruned[name])


def blind_outputs(
    silenced: ir.Model, compared: Sequence[Evidence], output_parts: Mapping[str, Sequence[str]]
) -> list[str]:
    """Name the outputs that say nothing, and of whose parts none does either."""
    telling = {one.name for one in compared if _tells(one.expected)}
    mute = [v for v in silenced.graph.outputs if not telling & {str(v.name), *output_parts[str(v.name)]}]
    # Sizes are meant to be the same for all inputs.
    known = shape_values(silenced) if mute else {}
    return [str(v.name) for v in mute if v.name not in known and any(_before(silenced, str(v.name)))]


def _tells(array: np.ndarray) -> bool:
    if array.dtype.kind not in "biuf":
        return True
    finite = array[np.isfinite(array)]
    if array.size == 1:
        return finite.size == 1 and bool(finite.any())
    return finite.size > 0 and bool(finite.min() != finite.max())


def evidence_before(
    output: str, silenced: ir.Model, pruned: ir.Model, feeds: Mapping[str, np.ndarray], removal: Removal
) -> Evidence | None:
    """Find the last value before an output that differs between its entries.

    Args:
        output: Name of the output.
        silenced: The original with the removed units silenced.
        pruned: The pruned model.
        feeds: What both are run on.
        removal: Which entries of each value stay.

    Returns:
        The value in both; None where there is none.
    """
    left = {str(value.name) for node in pruned.graph for value in node.outputs}
    names = [name for name in _before(silenced, output) if name in left]
    start, count = 0, 1
    while start < len(names):
        several = names[start : start + count]
        try:
            runs = run_model(silenced, feeds, several), run_model(pruned, feeds, several)
        except UnsupportedModelError:
            # It runs both without these as outputs.
            return None
        for name, expected, actual in zip(several, *runs, strict=True):
            stays = _staying(name, expected, removal)
            # Of a branch that is gone whole, a row is left of what was as large as the sum.
            if stays.shape == actual.shape and _tells(stays):
                return Evidence(name, stays, actual)
        start, count = start + count, min(2 * count, _MOST_AT_ONCE)
    return None


def _staying(name: str, array: np.ndarray, removal: Removal) -> np.ndarray:
    for axis in range(array.ndim):
        units = removal.channels.axis(name, axis)
        mask = removal.staying(units)
        if mask is not None:
            array = np.compress(mask, array, axis=axis)
    return array


def _before(model: ir.Model, output: str) -> Iterator[str]:
    """Name the values of floats that an output is made of steadily, the last first."""
    nodes, unsteady = list(model.graph), _unsteady(model)
    needed = {value for node in nodes for value in node.outputs if value.name == output}
    for node in reversed(nodes):
        if needed.isdisjoint(node.outputs):
            continue
        needed.update(value for value in node.inputs if value is not None)
        for value in node.outputs:
            real = _is_real(value)
            # Vectors may be sizes, which a removal changes.
            many = value.shape is not None and len(value.shape) > 1
            if value in needed and real and many and value not in unsteady and value.name != output:
                yield str(value.name)


def _unsteady(model: ir.Model) -> set[ir.Value]:
    """Collect the values that follow from what is not compared."""
    unsteady: set[ir.Value] = set()
    means: set[ir.Value] = set()
    for node in model.graph:
        if node.op_type in _UNSTEADY or any(value in unsteady for value in node.inputs):
            unsteady.update(node.outputs)
        elif node.op_type == "ReduceMean":
            # A mean over channels is a part of a mean over those that stay, in the silenced original.
            means.update(node.outputs)
    return unsteady | means
