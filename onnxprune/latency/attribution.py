"""Which layer the time of a node belongs to: onnxruntime fuses nodes, renames them and inserts others.

A kernel is traced back to the node of the file that it ends with, by the rules onnxruntime names kernels by. Where
that node is no layer but the kernel computes one (a Conv that has become `relu_output_nchwc` with its Relu inside), the
layer is the nearest one before it that no other kernel claims. Nodes that no kernel claims were fused into the layer
that they follow. Kernels that belong to no node of the file (conversions of layout, copies) are put together by
operator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxprune.latency.inside import NodeProfile, NodeTime

LAYERS = frozenset(
    {
        "Attention",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "DeformConv",
        "Einsum",
        "GRU",
        "Gemm",
        "LSTM",
        "MatMul",
        "MatMulInteger",
        "MultiHeadAttention",
        "QLinearConv",
        "QLinearMatMul",
        "RNN",
    }
)
"""Operators that are layers; nodes fused into them count as theirs."""

_TOKEN = re.compile(r"_token_\d+$")
_BLOCKED = "_nchwc"
# What onnxruntime fuses into the layer before; what follows others has a kernel of its own, whose name may not tell.
_FUSED = frozenset(
    {
        "Add",
        "BatchNormalization",
        "Clip",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Sub",
        "Tanh",
    }
)
# What only changes how values are written: no part of a layer that a reader wants to see.
_UNSEEN = frozenset({"Cast", "Constant", "DequantizeLinear", "Dropout", "Identity", "QuantizeLinear"})


@dataclass(frozen=True)
class LayerTime:
    """What a layer takes, with all that was fused into it.

    Attributes:
        name: Its node in the file; empty for what onnxruntime inserted.
        op: Its operator.
        fused: Operators of the nodes fused into it, in their order.
        kernels: How many kernels ran it.
        provider: onnxruntime's name of the provider that ran it.
        ms: What it took in one run.
        share: Its share of all kernels' time.
    """

    name: str
    op: str
    fused: tuple[str, ...]
    kernels: int
    provider: str
    ms: float
    share: float


def layer_times(graph: ir.Graph, profile: NodeProfile) -> tuple[LayerTime, ...]:
    """Put the times of kernels together by layer, in the order of execution.

    Args:
        graph: The graph as it is in the file: onnxruntime makes names of its names.
        profile: What each kernel took.
    """
    owners = _owners(graph, profile.nodes)
    parts: dict[str | int, _Part] = {}
    for kernel, owner in zip(profile.nodes, owners, strict=True):
        key: str | int = f"{kernel.op} {kernel.provider}" if owner is None else id(owner)
        parts.setdefault(key, _Part(owner)).kernels.append(kernel)
    fused = _fused(graph, [part.node for part in parts.values()])
    total = sum(kernel.ms for kernel in profile.nodes)
    return tuple(part.layer(fused, total) for part in parts.values())


@dataclass
class _Part:
    node: ir.Node | None
    kernels: list[NodeTime] = field(default_factory=list)

    def layer(self, fused: Mapping[int, Sequence[str]], total: float) -> LayerTime:
        ms = sum(kernel.ms for kernel in self.kernels)
        longest = max(self.kernels, key=lambda kernel: kernel.ms)
        return LayerTime(
            name="" if self.node is None else _display_name(self.node),
            op=longest.op if self.node is None else self.node.op_type,
            fused=() if self.node is None else tuple(fused.get(id(self.node), ())),
            kernels=len(self.kernels),
            provider=longest.provider,
            ms=ms,
            share=ms / total if total else 0.0,
        )


def _display_name(node: ir.Node) -> str:
    return node.name or str(node.outputs[0].name)


def _owners(graph: ir.Graph, kernels: Sequence[NodeTime]) -> list[ir.Node | None]:
    """Return the node that each kernel's time belongs to; None for what onnxruntime inserted."""
    names = _Names(graph)
    ends = [names.node_of(kernel) for kernel in kernels]
    claimed = {id(node) for node in ends if node is not None}
    owners: list[ir.Node | None] = []
    for kernel, end in zip(kernels, ends, strict=True):
        layer = None if end is None or end.op_type in LAYERS else _layer_before(end, claimed)
        if layer is not None and _computes(kernel.op, layer.op_type):
            claimed.add(id(layer))
            owners.append(layer)
        else:
            owners.append(end)
    return owners


def _layer_before(node: ir.Node, claimed: set[int]) -> ir.Node | None:
    """Find the nearest layer before a node, through nodes that no kernel claims."""
    waiting, seen = [node], {id(node)}
    while waiting:
        for before in waiting.pop(0).predecessors():
            if id(before) in claimed or id(before) in seen:
                continue
            if before.op_type in LAYERS:
                return before
            seen.add(id(before))
            waiting.append(before)
    return None


def _computes(kernel_op: str, op: str) -> bool:
    """Say whether a kernel is one for an operator: FusedConv and QLinearConv for Conv, FusedGemm for MatMul."""
    return op in kernel_op or (op in ("MatMul", "Gemm") and ("MatMul" in kernel_op or "Gemm" in kernel_op))


def _fused(graph: ir.Graph, owners: Sequence[ir.Node | None]) -> dict[int, list[str]]:
    """Give nodes without a kernel to the layer that they follow, the one that ran last where there are several."""
    rank = {id(node): position for position, node in enumerate(owners) if node is not None}
    belongs: dict[int, ir.Node] = {id(node): node for node in owners if node is not None}
    result: dict[int, list[str]] = {}
    for node in graph:
        if id(node) in belongs or node.op_type not in _FUSED | _UNSEEN:
            continue
        before = [belongs[id(other)] for other in node.predecessors() if id(other) in belongs]
        layers = [other for other in before if other.op_type in LAYERS]
        if not layers:
            continue
        owner = max(layers, key=lambda other: rank[id(other)])
        belongs[id(node)] = owner
        if node.op_type not in _UNSEEN:
            result.setdefault(id(owner), []).append(node.op_type)
    return result


class _Names:
    """Nodes by the names that onnxruntime may give their kernels."""

    def __init__(self, graph: ir.Graph) -> None:
        self._by_name: dict[str, ir.Node] = {}
        self._by_value: dict[str, ir.Node] = {}
        # Constants become initializers before nodes are numbered.
        nodes = [node for node in graph if node.op_type != "Constant"]
        for number, node in enumerate(nodes):
            self._by_name.setdefault(node.name or f"{node.op_type}_{number}", node)
            for value in node.outputs:
                self._by_value[str(value.name)] = node

    def node_of(self, kernel: NodeTime) -> ir.Node | None:
        """Return the node that a kernel ends with."""
        name = kernel.name
        found = self._by_name.get(name)
        if found is not None:
            return found
        plain = _TOKEN.sub("", name)
        if plain.endswith(_BLOCKED):
            found = self._by_value.get(plain.removesuffix(_BLOCKED))
            if found is not None:
                return found
        found = self._by_name.get(plain)
        if found is not None and _computes(kernel.op, found.op_type):
            return found
        return self._beginning(plain)

    def _beginning(self, name: str) -> ir.Node | None:
        """Find the node whose name a fusion's begins with: `/fc/MatMul/MatMulAddFusion`."""
        while "/" in name.strip("/"):
            name = name.rstrip("/").rpartition("/")[0]
            if name in self._by_name:
                return self._by_name[name]
        return None
