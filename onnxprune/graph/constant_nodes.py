"""Compute what scatters, masks and statistics make of constants alone, and where a mask is not zero.

A bias that a part of was set to zero is a bias, and a weight that is standardised in every run is a weight. Moves of
weights (Transpose, Reshape, Cast) and elementwise arithmetic are left: channels flow through them, and surgery cuts the
weight itself. They are computed only where one of those reads them. What a few numbers make is
left where the file would grow by it, such as a causal mask.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxprune.graph.growth import LARGEST_BYTES, freed_bytes, needed_bytes, stored_bytes
from onnxprune.graph.shape_values import add_initializer

_STATISTICS = frozenset(
    {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "ReduceL2", "ReduceMean", "ReduceSum"}
)
_FOLDED = _STATISTICS | {"CumSum", "EyeLike", "NonZero", "OneHot", "ScatterElements", "ScatterND", "Trilu"}
_READ_THROUGH = frozenset(
    {"Cast", "ConstantOfShape", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
    | {"Add", "Div", "Mul", "Pow", "Reciprocal", "Sqrt", "Sub"}
)
# The file may grow by this much, or by this part of what a constant is made of: statistics are small beside weights.
_FEW_BYTES = 16 << 10
_SMALL_PART = 8
_MOST_NODES = 64

Arrays = dict[ir.Value, np.ndarray | None]


def fold_constant_nodes(model: ir.Model) -> bool:
    """Replace, in place, such nodes that depend on initializers alone, unless the file grows by more than a little.

    Returns:
        Whether there were any.
    """
    folded = False
    for node in list(model.graph):
        read = [output for output in node.outputs if output.uses() or output.is_graph_output()]
        if node.op_type not in _FOLDED or node.domain or read != [node.outputs[0]] or read[0].is_graph_output():
            continue
        array = _small_constant(node)
        if array is None:
            continue
        name = node.outputs[0].name
        constant = add_initializer(model.graph, f"{name}.folded", array)
        node.outputs[0].replace_all_uses_with(constant)
        model.graph.remove(node, safe=True)
        folded = True
    return folded


def _small_constant(node: ir.Node) -> np.ndarray | None:
    """Compute a node's output, None where it is no constant, or takes too much room in the file."""
    sources = _sources(node)
    output = node.outputs[0]
    if sources is None or output.dtype == ir.DataType.STRING:
        return None
    room = freed_bytes([output]) + max(_FEW_BYTES, sum(map(stored_bytes, sources)) // _SMALL_PART)
    if (needed_bytes(output) or 0) > room:
        return None
    array = _array(output, {})
    return None if array is None or array.nbytes > room else array


def _sources(node: ir.Node) -> set[ir.Value] | None:
    """Return the initializers that a node is computed of; None where anything else, or too much, takes part."""
    sources: set[ir.Value] = set()
    cone, queue = {node}, [node]
    while queue:
        for value in queue.pop().inputs:
            if value is None:
                continue
            if value.is_initializer() and value.const_value is not None:
                sources.add(value)
                continue
            producer = value.producer()
            if producer is None or not _is_read_through(value) or len(cone) == _MOST_NODES:
                return None
            if producer not in cone:
                cone.add(producer)
                queue.append(producer)
    return sources or None


def _is_read_through(value: ir.Value) -> bool:
    node = value.producer()
    if node is None or node.domain or value is not node.outputs[0]:
        return False
    return node.op_type in _READ_THROUGH | _FOLDED and (needed_bytes(value) or 0) <= LARGEST_BYTES


def _array(value: ir.Value, arrays: Arrays) -> np.ndarray | None:
    """Compute what depends on initializers alone, each value once; None where ONNX's own evaluator cannot."""
    if value.const_value is not None and value.is_initializer():
        return value.const_value.numpy()
    if value not in arrays:
        node = value.producer()
        assert node is not None
        read = {str(source.name): _array(source, arrays) for source in node.inputs if source is not None}
        feeds = {name: array for name, array in read.items() if array is not None}
        results = evaluated(node, feeds) if len(feeds) == len(read) else None
        arrays[value] = None if results is None else results[0]
    return arrays[value]


def evaluated(node: ir.Node, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """Compute a node's outputs from its inputs by name; None where ONNX's own evaluator cannot."""
    opset = node.graph.opset_imports.get("", 1) if node.graph is not None else 1
    if node.op_type == "LpNormalization" and node.attributes.get_int("p", 2) == 1:
        # It adds up the entries, and not their sizes.
        return None
    try:
        results = ReferenceEvaluator(ir.serde.serialize_node(node), opsets={"": opset}).run(None, dict(feeds))
    except Exception:
        # It stays in the graph, for onnxruntime.
        return None
    return [np.asarray(result) for result in results]
