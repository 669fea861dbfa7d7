"""Gemm and MatMul: sums over an inner axis, of an activation with a weight or of two activations."""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis
from onnxprune.channels.ops.rules import is_weight, named
from onnxprune.channels.registry import flow
from onnxprune.graph.sizes import dims


@flow("Gemm")
def gemm(node: ir.Node, labels: Labels) -> None:
    """alpha * A' B' + beta * C, with A' (M, K) and B' (K, N)."""
    a_inner = 0 if node.attributes.get_int("transA", 0) else 1
    b_inner = 1 if node.attributes.get_int("transB", 0) else 0
    a, b = labels.of(node.inputs[0]), labels.of(node.inputs[1])
    reason = f"{named(node)} reads them from a fixed axis"
    _contract(node, labels, a_inner, b_inner, reason)
    out: list[Axis] = [a[1 - a_inner], b[1 - b_inner]]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        bias_axes, sizes = labels.of(bias), dims(bias)
        for back in range(1, len(sizes) + 1):
            if sizes[-back] != 1:
                out[-back] = labels.tie(out[-back], bias_axes[-back], reason)
    for value, axis in ((node.inputs[1], 1 - b_inner), (node.inputs[0], 1 - a_inner)):
        if is_weight(value):
            labels.produce(node, value, axis)
    labels.set(node.outputs[0], out)


@flow("MatMul")
def matmul(node: ir.Node, labels: Labels) -> None:
    """NumPy's matmul: (..., M, K) x (..., K, N); leading axes broadcast, and of a vector (K) M or N is left out."""
    a, b = labels.of(node.inputs[0]), labels.of(node.inputs[1])
    if not a or not b:
        labels.pin_all(node.inputs, f"{named(node)} multiplies numbers")
        labels.set(node.outputs[0], (None,) * len(dims(node.outputs[0])))
        return
    reason = f"{named(node)} reads them from a fixed axis"
    _contract(node, labels, len(a) - 1, max(len(b) - 2, 0), reason)
    a_sizes, b_sizes = dims(node.inputs[0]), dims(node.inputs[1])  # type: ignore[arg-type]
    leading: list[Axis] = []
    for back in range(max(len(a), len(b)), 2, -1):
        meeting = [
            axes[-back] for axes, sizes in ((a, a_sizes), (b, b_sizes)) if len(sizes) >= back and sizes[-back] != 1
        ]
        if len(meeting) == 2:
            leading.append(labels.tie(meeting[0], meeting[1], reason))
        else:
            leading.append(meeting[0] if meeting else None)
    for value, axes, axis in ((node.inputs[1], b, len(b) - 1), (node.inputs[0], a, len(a) - 2)):
        if len(axes) > 1 and is_weight(value):
            labels.produce(node, value, axis)
    labels.set(node.outputs[0], (*leading, *a[-2:-1], *(b[-1:] if len(b) > 1 else ())))


def _contract(node: ir.Node, labels: Labels, a_inner: int, b_inner: int, reason: str) -> None:
    labels.tie(labels.of(node.inputs[0])[a_inner], labels.of(node.inputs[1])[b_inner], reason)
    if is_weight(node.inputs[0]):
        labels.contract(node, 1, b_inner)
    else:
        labels.contract(node, 0, a_inner)
