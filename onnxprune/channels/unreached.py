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
    {"Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"} | _INTEGER,
)


def unreached_weights(model: ir.Model) -> tuple[str, ...]:
    """Name the operators that multiply but that no channels are followed through, each kind with what to do.

    Args:
        model: A loaded model.

    Returns:
        A line for integers, one for weights that are quantised in blocks, one for each node whose subgraphs hold such
        operators, and one for each behind which sizes are lost; none where there are none.
    """
    integer = Counter(node.op_type for node in model.graph if node.op_type in _INTEGER)
    lines = []
    if integer:
        lines.append(
            f"{_counted(integer)} multiply integers: prune the float network that this one was made of and quantise "
            "the result (compress --quantize int8), or give it in QDQ form"
        )
    blocked = Counter(node.op_type for node in model.graph if any(map(_is_blocked, node.inputs)))
    if blocked:
        lines.append(
            f"{_counted(blocked)} read weights that are quantised in blocks (DequantizeLinear with block_size): prune "
            "the network before it is quantised, or quantise it by channels"
        )
    for node in model.graph:
        inner = (inner for graph in subgraphs(node) for inner in graph.all_nodes())
        inside = Counter(each.op_type for each in inner if each.op_type in _MULTIPLYING)
        if inside:
            lines.append(
                f"{_counted(inside)} run inside {_kind(node)} '{node.name}', whose subgraphs stay as they are: export "
                "the network without it"
            )
    lines += [
        f"{_counted(behind)} read tensors whose sizes are lost at {_kind(node)} '{node.name}', so that channels are "
        "not followed through them: export the network without it"
        for node, behind in _behind_lost_sizes(model).items()
    ]
    return tuple(lines)


def _behind_lost_sizes(model: ir.Model) -> dict[ir.Node, Counter[str]]:
    """Count what multiplies tensors of which not even the number of axes is known, by the node that lost it."""
    lost_at: dict[ir.Value, ir.Node] = {}
    found: dict[ir.Node, Counter[str]] = {}
    for node in model.graph:
        origin = next((lost_at[value] for value in node.inputs if value in lost_at), None)
        lost = [value for value in node.outputs if value.name and value.shape is None]
        if origin is None and lost:
            # What a file says of the sizes that an operator gives does not count in what follows from them.
            before = node.inputs[0].producer() if node.op_type in _MULTIPLYING and node.inputs[0] is not None else None
            origin = before or node
        if origin is not None and node.op_type in _MULTIPLYING:
            found.setdefault(origin, Counter())[node.op_type] += 1
        lost_at |= dict.fromkeys(lost, origin) if origin is not None else {}
    return found


def _is_blocked(value: ir.Value | None) -> bool:
    """Say whether a value is a weight with a scale for each of several blocks of entries."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return False
    return node.inputs[0].is_initializer() and node.attributes.get_int("block_size", 0) > 0


def _kind(node: ir.Node) -> str:
    return ".".join(part for part in (node.domain, node.op_type) if part)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind} ({count}x)" if count > 1 else kind for kind, count in kinds.most_common())
