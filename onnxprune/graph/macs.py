"""The multiply-accumulates of a node, as a sum of products of axis sizes.

Written as axes, not as numbers, the same formulas say what a network costs, what would go with a group of channels, and
what a structure costs that nobody has built. Shapes are those of the operators' texts (onnx.ai/onnx/operators):

    Conv           Y (N, C_out, ...) x W (C_out, C_in / group, kernel...)[1:]
    ConvTranspose  X (N, C_in, ...) x W (C_in, C_out / group, kernel...)[1:]
    Gemm, MatMul   Y (..., M, N) x K
    Attention      queries with keys, then weights with values: Q (N, heads, L, d) x S, and Y (N, heads, L, e) x S
    RNN, GRU, LSTM the gates' products with the input and the state in every step, elementwise work left out:
                   steps x N x W (D, gates H, I) + steps x N x R (D, gates H, H)
    Einsum         operands from left to right: the product of the letters that a step sees, where it sums one up
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

from onnxprune.graph.equations import axis_letters

Shapes = Mapping[str, tuple[int, ...]]
Axes = tuple[tuple[str, int], ...]
"""Axes, as (value name, axis), whose sizes are multiplied."""


def mac_terms(node: ir.Node, shapes: Shapes) -> tuple[Axes, ...]:
    """Return the axes whose sizes make the node's multiply-accumulates: products that are added up.

    Args:
        node: Any node of a normalised model; one that is no contraction has no terms.
        shapes: Shapes by value name; where one of the node's is missing, there are no terms either.
    """
    rule = _TERMS.get(node.op_type) if node.domain == "" else None
    if rule is None:
        return ()
    try:
        return tuple(rule(node, shapes))
    except _UnknownShapeError:
        return ()


def product_of(axes: Axes, shapes: Shapes) -> int:
    """Multiply the sizes of axes."""
    return math.prod(shapes[value][axis] for value, axis in axes)


class _UnknownShapeError(Exception):
    """A shape that a formula needs is not known."""


def _name(value: ir.Value | None, shapes: Shapes) -> str:
    if value is None or str(value.name) not in shapes:
        raise _UnknownShapeError
    return str(value.name)


def _axes(value: ir.Value | None, shapes: Shapes, first: int = 0) -> Axes:
    name = _name(value, shapes)
    return tuple((name, axis) for axis in range(first, len(shapes[name])))


def _convolution(node: ir.Node, shapes: Shapes) -> Iterator[Axes]:
    outer = node.inputs[0] if node.op_type == "ConvTranspose" else node.outputs[0]
    yield _axes(outer, shapes) + _axes(node.inputs[1], shapes, 1)


def _product(node: ir.Node, shapes: Shapes) -> Iterator[Axes]:
    a = _name(node.inputs[0], shapes)
    if shapes[a]:
        transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0
        yield (*_axes(node.outputs[0], shapes), (a, 0 if transposed else len(shapes[a]) - 1))


def _attention(node: ir.Node, shapes: Shapes) -> Iterator[Axes]:
    keys = _name(node.inputs[1], shapes)
    lengths = [(keys, len(shapes[keys]) - 2)]
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        # Beside the keys that are read now there are those kept from before.
        lengths.append((_name(node.inputs[4], shapes), 2))
    for length in lengths:
        yield (*_axes(node.inputs[0], shapes), length)
        yield (*_axes(node.outputs[0], shapes), length)


def _recurrence(node: ir.Node, shapes: Shapes) -> Iterator[Axes]:
    steps_and_batch = _axes(node.inputs[0], shapes)[:2]
    for weight in node.inputs[1:3]:
        yield steps_and_batch + _axes(weight, shapes)


def _einsum(node: ir.Node, shapes: Shapes) -> Iterator[Axes]:
    names = [_name(value, shapes) for value in node.inputs]
    *terms, result = axis_letters(node.attributes.get_string("equation"), [len(shapes[name]) for name in names])
    places: dict[str, tuple[str, int]] = {}
    for name, term in zip(names, terms, strict=True):
        for axis, letter in enumerate(term):
            # Of axes that meet, one of a single entry is repeated along the other.
            if letter not in places or shapes[places[letter][0]][places[letter][1]] == 1:
                places[letter] = (name, axis)
    seen = terms[0]
    for step, term in enumerate(terms[1:], start=1):
        met = list(dict.fromkeys([*seen, *term]))
        later = {letter for other in [*terms[step + 1 :], result] for letter in other}
        seen = [letter for letter in met if letter in later]
        if len(seen) < len(met):
            yield tuple(places[letter] for letter in met)


_TERMS: dict[str, Callable[[ir.Node, Shapes], Iterator[Axes]]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "DeformConv": _convolution,
    "Gemm": _product,
    "MatMul": _product,
    "Attention": _attention,
    "RNN": _recurrence,
    "GRU": _recurrence,
    "LSTM": _recurrence,
    "Einsum": _einsum,
}
