"""Operands that say how large or where something is, and what they say when sizes that they are computed of are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxprune.channels.ops.rules import patch_sizes, positive, set_constant
from onnxprune.channels.registry import Removal
from onnxprune.graph.shape_values import shape_values
from onnxprune.graph.sizes import dims

TARGETS = {
    "AffineGrid": {1},
    "ConstantOfShape": {0},
    "Expand": {1},
    "OneHot": {1},
    "Pad": {1, 3},
    "Range": {0, 1, 2},
    "Reshape": {1},
    "Resize": {1, 2, 3},
    "Slice": {1, 2, 3, 4},
    "Split": {1},
    "Tile": {1},
    "TopK": {1},
    "Upsample": {1},
}
"""Indices of such operands, by operator."""

# Those that name the sizes of the node's output.
_OUTPUT_SIZES = frozenset({("ConstantOfShape", 0), ("Expand", 1), ("Reshape", 1), ("Resize", 3)})


def settle_sizes(pruned: ir.Model, removal: Removal) -> bool:
    """Write down sizes that the graph would compute of an axis that was cut, for a value that was not.

    Expand(y, Shape(x)) means the size that y has, where the channels of x go and those of y stay.

    Args:
        pruned: The model under surgery, with the shapes that its values have now.
        removal: What was removed.

    Returns:
        Whether there were any.
    """
    if not any(node.op_type in {"Shape", "Size"} for node in pruned.graph):
        return False
    now, changed = shape_values(pruned), False
    for node in list(pruned.graph):
        for index, name in _computed_targets(node):
            meant, found = removal.known.get(name), now.get(name)
            if meant is None or found is None or meant.shape != found.shape:
                continue
            wrong = {
                position: size
                for position, size in enumerate(_meant(node, index, meant, removal))
                if isinstance(size, int | np.integer) and found.flat[position] not in (None, size)
            }
            if wrong and meant.ndim == 0:
                set_constant(node, index, np.array(wrong[0], dtype=np.int64))
            elif wrong:
                patch_sizes(node, index, found, {position: int(size) for position, size in wrong.items()})
            changed |= bool(wrong)
    return changed


def _computed_targets(node: ir.Node) -> Iterator[tuple[int, str]]:
    for index in TARGETS.get(node.op_type, ()) if not node.domain else ():
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None and not value.is_initializer():
            yield index, str(value.name)


def _meant(node: ir.Node, index: int, entries: np.ndarray, removal: Removal) -> Iterator[object]:
    """Yield what each entry is to be: what it was, unless it names an axis of the output that was cut."""
    output = node.outputs[0]
    rank = len(removal.channels.axes.get(str(output.name), dims(output)))
    axes = range(rank - entries.size, rank)
    if node.op_type == "Resize":
        axes = [positive(axis, rank) for axis in node.attributes.get_ints("axes", range(entries.size))]  # type: ignore[assignment]
    for position, entry in enumerate(entries.flat):
        kept = removal.kept(output, axes[position]) if (node.op_type, index) in _OUTPUT_SIZES else None
        yield entry if kept is None else int(kept.sum())
