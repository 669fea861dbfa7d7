"""What a file gains and loses where values that are computed of constants are stored instead."""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx_ir as ir

# What is mapped from a file may be larger than the memory.
LARGEST_BYTES = 256 << 20
"""Of what is computed beforehand, whatever that makes of the file."""


def stored_bytes(value: ir.Value) -> int:
    """Return what a value takes in the file: nothing unless it is an initializer."""
    return value.const_value.nbytes if value.is_initializer() and value.const_value is not None else 0


def needed_bytes(value: ir.Value) -> int | None:
    """Return what a value would take in the file; None where its shape or type does not say."""
    sizes = [dim for dim in value.shape or () if isinstance(dim, int)]
    if value.shape is None or value.dtype in (None, ir.DataType.STRING) or len(sizes) < len(value.shape):
        return None
    return math.prod(sizes) * value.dtype.bitwidth // 8


def freed_bytes(values: Collection[ir.Value]) -> int:
    """Return what the initializers take that nothing reads once nothing reads `values`."""
    dead: set[ir.Node] = set()
    freed: set[ir.Value] = set()
    queue = [node for value in values if (node := value.producer()) is not None]
    while queue:
        node = queue.pop()
        outputs = [output for output in node.outputs if output not in values]
        if node in dead or any(o.is_graph_output() or {use.node for use in o.uses()} - dead for o in outputs):
            continue
        dead.add(node)
        for source in node.inputs:
            if source is None:
                continue
            if (producer := source.producer()) is not None:
                queue.append(producer)
            elif not {use.node for use in source.uses()} - dead:
                freed.add(source)
    return sum(map(stored_bytes, freed))
