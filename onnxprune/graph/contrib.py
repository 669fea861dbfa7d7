"""What onnxruntime has of its own, the domain com.microsoft.

Its QuantizeLinear and DequantizeLinear become ONNX's, which say the same: its tools write them with `UseQDQContribOps`,
and for integers of 16 bits before opset 21, whose ONNX has none.
"""

from __future__ import annotations

import onnx_ir as ir

DOMAIN = "com.microsoft"
# From which opset on ONNX has them for each type that they store, and scales in half precision.
_BYTES, _AXIS, _HALVES, _WIDE = 10, 13, 19, 21
_SINCE = {ir.DataType.INT8: _BYTES, ir.DataType.UINT8: _BYTES}
# Biases, which only DequantizeLinear reads.
_SINCE[ir.DataType.INT32] = _BYTES


def import_domain(model: ir.Model) -> None:
    """Import onnxruntime's operators, in place, where a model uses them and does not say so; onnxruntime runs it."""
    if any(node.domain == DOMAIN for node in model.graph.all_nodes()):
        model.opset_imports.setdefault(DOMAIN, 1)


def adopt_quantising(model: ir.Model) -> None:
    """Move onnxruntime's quantising nodes to ONNX's domain, in place, where the model's opset has them."""
    opset = model.graph.opset_imports.get("", 1)
    moved = [node for node in model.graph if _is_quantising(node) and opset >= _needed(node)]
    for node in moved:
        node.domain = ""
        node.version = None
        if opset < _AXIS:
            # A single scale has none.
            node.attributes.pop("axis", None)
    if moved and not any(node.domain == DOMAIN for node in model.graph.all_nodes()):
        model.graph.opset_imports.pop(DOMAIN, None)


def _is_quantising(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type in {"QuantizeLinear", "DequantizeLinear"}


def _needed(node: ir.Node) -> int:
    """Return the first opset whose ONNX can say what a node does."""
    scale = node.inputs[1]
    is_scalar = scale is not None and scale.shape is not None and len(scale.shape) == 0
    halves = scale is None or scale.dtype != ir.DataType.FLOAT
    stored = _stored_type(node)
    since = _WIDE if stored is None else _SINCE.get(stored, _WIDE)
    return max(since, _BYTES if is_scalar else _AXIS, _HALVES if halves else _BYTES)


def _stored_type(node: ir.Node | None) -> ir.DataType | None:
    """Return the type of the integers that a node gives or reads, None where nothing says it."""
    if node is None or node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
        return None
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None:
        return zero.dtype
    if node.op_type == "QuantizeLinear":
        return ir.DataType.UINT8
    integers = node.inputs[0]
    if integers is None or integers.is_initializer() or integers.producer() is None:
        return integers.dtype if integers is not None else None
    return _stored_type(integers.producer())
