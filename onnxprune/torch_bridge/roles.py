"""What each initializer is to training: a weight, a running statistic, or fixed, and then why.

A weight is a tensor of floats that the network computes with. Scalars that belong to a formula (the 3 and the
6 of a hard swish, an epsilon, an exponent), bounds, sizes and quantisation parameters are not weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.torch_bridge.settings import is_setting

_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
_STATISTICS = {"BatchNormalization": (3, 4)}
_PARAMETERS = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Einsum": (0, 1, 2),
    "Gemm": (0, 1, 2),
    "GRU": (1, 2, 3),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
# The rank that a bias has at least when it is added to such an operator's result.
_BIASED = {"MatMul": 1, "Conv": 3, "ConvTranspose": 3}
# Inputs through which no gradient flows, or that define an operation rather than feed it.
_CONSTANT_INPUTS = {
    "DequantizeLinear": (1, 2),
    "Equal": (0, 1),
    "Greater": (0, 1),
    "GreaterOrEqual": (0, 1),
    "Less": (0, 1),
    "LessOrEqual": (0, 1),
    "OneHot": (0, 1, 2),
    "Pow": (1,),
    "QuantizeLinear": (1, 2),
    "Shape": (0,),
    "Size": (0,),
}


@dataclass(frozen=True)
class Roles:
    """The float initializers of a model, by role.

    Attributes:
        weights: Names of those that are trained.
        statistics: Names of those that are running statistics of BatchNorms and nothing else.
        fixed: Names of all others, each with the reason.
    """

    weights: tuple[str, ...]
    statistics: tuple[str, ...]
    fixed: dict[str, str]


def roles(model: ir.Model) -> Roles:
    """Sort a model's float initializers by what they are to training."""
    weights: list[str] = []
    statistics: list[str] = []
    fixed: dict[str, str] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        reason = _why_fixed(value, tensor)
        if reason is None:
            weights.append(name)
        elif all(_is_statistic(use.node, use.idx) for use in value.uses()) and value.uses():
            statistics.append(name)
        else:
            fixed[name] = reason
    return Roles(tuple(weights), tuple(statistics), fixed)


def _why_fixed(value: ir.Value, tensor: ir.TensorProtocol) -> str | None:
    if tensor.dtype not in _FLOATS:
        return f"PyTorch does not train {tensor.dtype.name}"
    uses = [use for use in value.uses() if not _is_statistic(use.node, use.idx)]
    data = [use for use in uses if not _is_constant_input(use.node, use.idx)]
    if not data or tensor.size == 0:
        return "it is a bound, a scale or a size" if uses else "no operator reads it"
    if any(use.idx in _PARAMETERS.get(use.node.op_type, ()) for use in data):
        return None
    if tensor.size == 1:
        bias = any(_is_bias(use.node, use.idx, tensor) for use in data)
        return None if bias else "it is a single number in a formula"
    return None if np.isfinite(tensor.numpy()).all() else "it is a mask"


def _is_statistic(node: ir.Node, position: int) -> bool:
    return node.domain in ("", "ai.onnx") and position in _STATISTICS.get(node.op_type, ())


def _is_constant_input(node: ir.Node, position: int) -> bool:
    return is_setting(node, position) or position in _CONSTANT_INPUTS.get(node.op_type, ())


def _is_bias(node: ir.Node, position: int, tensor: ir.TensorProtocol) -> bool:
    """Say whether a single number is the bias of one output, rather than a constant of a formula."""
    if node.op_type != "Add":
        return False
    other = node.inputs[1 - position]
    producer = other.producer() if other is not None else None
    least_rank = _BIASED.get(producer.op_type) if producer is not None else None
    return least_rank is not None and tensor.shape.rank() >= least_rank
