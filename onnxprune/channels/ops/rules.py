"""What several families of operators share: broadcasting ties, axis numbers, and rewriting a constant operand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxprune.channels.labels import FIXED, Axes, Labels, MisfitError
from onnxprune.channels.map import Axis
from onnxprune.channels.registry import Removal
from onnxprune.graph.quantised import is_computed_weight, origin_of
from onnxprune.graph.shape_values import add_initializer
from onnxprune.graph.sizes import dims

_INT64 = ir.DataType.INT64


def named(node: ir.Node) -> str:
    """Return how messages call a node: its operator and name."""
    return f"{node.op_type} '{node.name}'"


def opset(node: ir.Node) -> int:
    """Return the version of the default operator set the node is in."""
    if node.graph is None:
        return 0
    return node.version or node.graph.opset_imports.get("", 0)


def positive(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    return axis + rank if axis < 0 else axis


def axes_argument(node: ir.Node, known: Labels | Removal, position: int = 1) -> list[int] | None:
    """Return the `axes` of a node, whether an attribute or an input; None where they are absent or unknown."""
    if len(node.inputs) > position and node.inputs[position] is not None:
        return known.known_ints(node.inputs[position])
    axes = node.attributes.get_ints("axes", None)
    return None if axes is None else list(axes)


def is_weight(value: ir.Value | None) -> bool:
    """Say whether a value is stored, or made of what is stored as weights are: moved, dequantised or scaled."""
    return origin_of(value) is not None or is_computed_weight(value)


def size_of(axis: Axis, dim: int | str | None) -> int | None:
    """Return the number of indices of an axis, None where it is dynamic."""
    if axis is not None:
        return len(axis)
    return dim if isinstance(dim, int) else None


def as_array(axis: Axis, size: int) -> np.ndarray:
    """Return an axis as an array of labels, fixed ones where it is None."""
    return np.full(size, FIXED) if axis is None else axis


def broadcast(node: ir.Node, labels: Labels, values: Sequence[ir.Value | None]) -> Axes:
    """Tie the labels of values that meet under NumPy broadcasting.

    Returns:
        The labels of the result.
    """
    operands = [(labels.of(v), dims(v)) for v in values if v is not None]
    rank = max(len(sizes) for _, sizes in operands)
    after = dims(node.outputs[0])
    result: list[Axis] = []
    for back in range(rank, 0, -1):
        meeting = [(axes[-back], sizes[-back]) for axes, sizes in operands if len(sizes) >= back and sizes[-back] != 1]
        if not meeting:
            result.append(None)
            continue
        if back <= len(after) and isinstance(after[-back], str):
            _learn_size(labels, after[-back], meeting)
        joint = meeting[0][0]
        for axis, _ in meeting[1:]:
            joint = labels.tie(joint, axis, f"{named(node)} joins them with a fixed axis")
        result.append(joint)
    return tuple(result)


def _learn_size(labels: Labels, name: int | str | None, meeting: Sequence[tuple[Axis, int | str | None]]) -> None:
    """Take note of the size of a result whose operands have other names for it, or a number."""
    sizes = {labels.size(axis, dim) for axis, dim in meeting}
    if len(sizes) == 1:
        labels.learn(name, sizes.pop())


def carry(node: ir.Node, labels: Labels) -> None:
    """Give every output the labels of the first input, axis by axis."""
    source = labels.of(node.inputs[0])
    for output in node.outputs:
        labels.set(output, source)


def tie_rows(labels: Labels, boxes: np.ndarray, reason: str) -> None:
    """Tie the entries of each row, shape (rows, columns), with the row's first."""
    if boxes.shape[1] > 1:
        first = np.repeat(boxes[:, :1], boxes.shape[1] - 1, axis=1)
        labels.tie(first.reshape(-1), boxes[:, 1:].reshape(-1), reason)


def in_rows(axis: np.ndarray, groups: int) -> np.ndarray:
    """Return the entries of an axis with a row for each of equally large groups, shape (groups, size / groups)."""
    if len(axis) % groups:
        raise MisfitError(f"{len(axis)} channels are to be {groups} groups")
    return axis.reshape(groups, -1)


def grouped_in_rows(labels: Labels, axis: Axis, groups: int, reason: str) -> Axis:
    """Tie the entries of each of the equally large groups that an axis consists of."""
    if axis is None:
        return None
    tie_rows(labels, in_rows(axis, groups), reason)
    return axis


def set_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Make input `index` of a node the constant `array`, leaving other readers of the old value alone."""
    assert node.graph is not None
    old = node.inputs[index] if index < len(node.inputs) else None
    name = str(old.name) if old is not None else f"{node.name}.sizes"
    if old is not None and old.is_initializer() and len(old.uses()) == 1:
        old.const_value = ir.tensor(np.array(array, order="C"), name=name)
        old.shape = ir.Shape(array.shape)
        return
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    value = add_initializer(graph, f"{name}.pruned", array)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def patch_sizes(node: ir.Node, index: int, entries: np.ndarray, new: dict[int, int]) -> None:
    """Rewrite single entries of a 1-D size operand.

    Args:
        node: The node of the pruned copy.
        index: The operand.
        entries: What the original graph determines of it, None entries where dynamic.
        new: New entries by position.
    """
    changed = {position: size for position, size in new.items() if entries[position] not in (-1, size)}
    if changed:
        set_entries(node, index, [changed.get(position, entry) for position, entry in enumerate(entries)])


def set_entries(node: ir.Node, index: int, entries: Sequence[int | None]) -> None:
    """State the entries of a 1-D operand, as int64; those that are None still come from the graph."""
    if None not in entries:
        set_constant(node, index, np.array(entries, dtype=np.int64))
        return
    graph, old = node.graph, node.inputs[index]
    assert isinstance(graph, ir.Graph)
    assert old is not None
    if old.dtype == ir.DataType.INT32:
        old = insert_before(node, "Cast", [old], f"{node.name}.wide", _INT64, to=_INT64.value)
    # Gather and Concat are what shape inference sees through.
    pieces: list[ir.Value] = []
    for position, entry in enumerate(entries):
        if entry is not None:
            pieces.append(add_initializer(graph, f"{node.name}.size_{position}", np.array([entry], dtype=np.int64)))
        else:
            where = add_initializer(graph, f"{node.name}.position_{position}", np.array([position]))
            pieces.append(insert_before(node, "Gather", [old, where], f"{node.name}.dynamic_{position}", _INT64))
    joined = insert_before(node, "Concat", pieces, f"{node.name}.sizes", _INT64, axis=0)
    node.replace_input_with(index, joined)


def insert_before(
    before: ir.Node, op_type: str, inputs: list[ir.Value], name: str, dtype: ir.DataType, **attributes: int
) -> ir.Value:
    """Put a node in front of another.

    Args:
        before: The other node.
        op_type: The operator.
        inputs: What it reads.
        name: Its name, made unique.
        dtype: The type of what it computes.
        attributes: Its attributes.

    Returns:
        What it computes.
    """
    assert isinstance(before.graph, ir.Graph)
    node = ir.node(op_type, inputs, attributes=attributes)
    # A network that was pruned before has nodes of these names already.
    taken = {other.name for other in before.graph}
    node.name = next(free for count in itertools.count() if (free := f"{name}.{count}" if count else name) not in taken)
    node.outputs[0].name = f"{node.name}_output"
    node.outputs[0].dtype = dtype
    before.graph.insert_before(before, node)
    return node.outputs[0]
