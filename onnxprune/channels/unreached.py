"""Weights that the channel analysis does not reach, and what would let it."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from onnxprune.graph.subgraphs import subgraphs

# What multiplies integers without saying so by QuantizeLinear and DequantizeLinear.
_INTEGER = frozenset(
    {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
    # onnxruntime's own.
    | {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "QGemm", "MatMulNBits"}
)
_MULTIPLYING = frozenset(
    {"Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"} | _INTEGER,
)


def unreached_weights(model: ir.Model) -> tuple[str, ...]:
    """Name the operators that multiply but that no channels are followed through, each kind with what to do.

    Args:
        model: A loaded model.

    Returns:
        A line for integers, and one for each node whose subgraphs hold such operators; none where there are none.
    """
    integer = Counter(node.op_type for node in model.graph if node.op_type in _INTEGER)
    lines = []
    if integer:
        lines.append(
            f"{_counted(integer)} multiply integers: prune the float network that this one was made of and quantise "
            "the result (compress --quantize int8), or give it in QDQ form"
        )
    for node in model.graph:
        inner = (inner for graph in subgraphs(node) for inner in graph.all_nodes())
        inside = Counter(each.op_type for each in inner if each.op_type in _MULTIPLYING)
        if inside:
            lines.append(
                f"{_counted(inside)} run inside {node.op_type} '{node.name}', whose subgraphs stay as they are: export "
                "the network without it"
            )
    return tuple(lines)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind} ({count}x)" if count > 1 else kind for kind, count in kinds.most_common())
