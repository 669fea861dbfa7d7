"""Tile as Expand, where it repeats single entries only: shape inference and channels get through that."""

from __future__ import annotations

from itertools import zip_longest

import onnx_ir as ir

from onnxprune.graph.shape_values import shape_values

_EXPAND_SINCE = 8


def expand_single_entries(model: ir.Model) -> bool:
    """Rewrite such nodes in place.

    Args:
        model: A model with inferred shapes.

    Returns:
        Whether there were any.
    """
    tiles = [node for node in model.graph if node.op_type == "Tile" and node.domain == ""]
    if not tiles or model.opset_imports.get("", 0) < _EXPAND_SINCE:
        return False
    known = shape_values(model, products=True)
    changed = False
    for node in tiles:
        value, repeats = node.inputs
        entries = known.get(str(repeats.name)) if repeats is not None else None
        if value is None or value.shape is None or entries is None:
            continue
        if all(size == 1 or times == 1 for size, times in zip_longest(value.shape, entries.flat)):
            node.op_type = "Expand"
            changed = True
    return changed
