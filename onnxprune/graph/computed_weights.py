"""Weights that the graph computes of constants in every run: normalised, scaled, merged, or cut out of a larger one.

requires  a normalised model with inferred shapes
ensures   where a MatMul or an Einsum multiplies with a matrix that depends on initializers alone, the matrix is an
          initializer itself, if the file does not grow by that: what it was computed of must go with it. So a part of
          a weight that is read elsewhere stays a part, an integer weight that is scaled stays integer, and moves
          (Transpose, Cast, DequantizeLinear) stay in front of the matrix.

Channels flow through such computations as well; but scores, healing and layer costs need the weight itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxprune.graph.constant_nodes import evaluated
from onnxprune.graph.growth import LARGEST_BYTES, freed_bytes, needed_bytes, stored_bytes
from onnxprune.graph.quantised import MOVES, can_be_constant, origin_of
from onnxprune.graph.shape_values import add_initializer

_READERS = frozenset({"MatMul", "Einsum"})
_MOST_NODES = 64


def fold_computed_weights(model: ir.Model) -> bool:
    """Compute, in place, what such matrices are; tell whether there were any."""
    cones = {value: cone for value in _matrices(model) if (cone := _cone(value))}
    folded = False
    for values in _connected(cones):
        nodes = [node for node in model.graph if any(node in cones[value] for value in values)]
        if _grows(values) or (arrays := _computed(nodes, values)) is None:
            continue
        for value, array in zip(values, arrays, strict=True):
            value.replace_all_uses_with(add_initializer(model.graph, f"{value.name}.folded", array))
        folded = True
    return folded


def _matrices(model: ir.Model) -> Iterator[ir.Value]:
    """Yield what is multiplied with and neither stored nor moved from what is, behind the moves in front of it."""
    found = set()
    for node in model.graph:
        for value in node.inputs if node.op_type in _READERS and node.domain == "" else ():
            if value is None or origin_of(value) is not None or not _is_matrix(value):
                continue
            matrix = _before_moves(value)
            if matrix not in found and not matrix.is_graph_output():
                found.add(matrix)
                yield matrix


def _before_moves(value: ir.Value) -> ir.Value:
    producer = value.producer()
    source = producer.inputs[0] if producer is not None and producer.op_type in MOVES else None
    return value if source is None else _before_moves(source)


def _is_matrix(value: ir.Value) -> bool:
    """Say whether a value has no more than two axes: what has more is no weight but, say, queries that are learned."""
    return value.shape is not None and sum(dim != 1 for dim in value.shape) <= 2


def _cone(value: ir.Value) -> frozenset[ir.Node]:
    """Return the nodes that compute a value of initializers alone, none where anything else takes part."""
    cone: set[ir.Node] = set()
    queue = [value]
    while queue:
        value = queue.pop()
        node = value.producer()
        if value.is_initializer() or node in cone:
            continue
        if node is None or not can_be_constant(node) or len(cone) == _MOST_NODES:
            return frozenset()
        cone.add(node)
        queue += [source for source in node.inputs if source is not None]
    return frozenset(cone)


def _connected(cones: dict[ir.Value, frozenset[ir.Node]]) -> Iterator[list[ir.Value]]:
    """Sort matrices by what they are made of: those that have some of it in common stand or fall together."""
    groups: list[tuple[list[ir.Value], set[ir.Value]]] = []
    for value, cone in cones.items():
        made_of = {source for node in cone for source in node.inputs if source is not None and stored_bytes(source) > 8}
        joined = [group for group in groups if group[1] & made_of]
        groups = [group for group in groups if group not in joined]
        values = [other for group in joined for other in group[0]]
        groups.append(([*values, value], made_of.union(*(group[1] for group in joined))))
    return (values for values, _ in groups)


def _grows(values: list[ir.Value]) -> bool:
    """Say whether matrices take more bytes than what nothing reads any more once they are stored."""
    needed = [needed_bytes(value) for value in values]
    total = sum(one for one in needed if one is not None)
    return None in needed or total > min(freed_bytes(values), LARGEST_BYTES)


def _computed(nodes: list[ir.Node], values: list[ir.Value]) -> list[np.ndarray] | None:
    """Compute values by their nodes, in order; None where ONNX's own evaluator cannot."""
    arrays: dict[str, np.ndarray] = {}
    for node in nodes:
        feeds = {str(source.name): _stored_or(arrays, source) for source in node.inputs if source is not None}
        results, names = evaluated(node, feeds), [str(output.name) for output in node.outputs if output.name]
        if results is None or len(names) != len(results):
            return None
        arrays.update(zip(names, results, strict=True))
    found = [arrays[str(value.name)] for value in values]
    return found if all(np.isfinite(array).all() for array in found) else None


def _stored_or(arrays: dict[str, np.ndarray], value: ir.Value) -> np.ndarray:
    return value.const_value.numpy() if value.const_value is not None else arrays[str(value.name)]
