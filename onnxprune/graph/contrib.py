"""What onnxruntime has of its own, the domain com.microsoft.

Its QuantizeLinear and DequantizeLinear become ONNX's, which say the same: its tools write them with `UseQDQContribOps`,
and for integers of 16 bits before opset 21, whose ONNX has none.
"""

from __future__ import annotations

import onnx_ir as ir

DOMAIN = "com.microsoft"
# From which opset on ONNX has them for each type, and with an axis.
_BYTES, _AXIS, _WIDE = 10, 13, 21
_SINCE = {ir.DataType.INT8: _BYTES, ir.DataType.UINT8: _BYTES}
_SINCE |= dict.fromkeys((ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.INT4, ir.DataType.UINT4), _WIDE)
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
    if moved and not any(node.domain == DOMAIN for node in model.graph.all_nodes()):
        model.graph.opset_imports.pop(DOMAIN, None)


def _is_quantising(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type in {"QuantizeLinear", "DequantizeLinear"}


def _needed(node: ir.Node) -> int:
    """Return the first opset whose ONNX can say what a node does."""
    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    stated = node.inputs[0] if zero is None and node.op_type == "DequantizeLinear" else zero
    # Without a zero point the result is of 8 bits.
    since = _BYTES if stated is None else _SINCE.get(stated.dtype, _WIDE) if stated.dtype is not None else _WIDE
    is_scalar = scale is not None and scale.shape is not None and len(scale.shape) == 0
    return max(since, _BYTES if is_scalar else _AXIS)
