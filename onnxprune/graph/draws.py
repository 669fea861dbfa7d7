"""Nodes that draw random numbers, made to draw the same ones in every run and in every copy of a network."""

from __future__ import annotations

import zlib

import onnx_ir as ir

_DRAWS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
# What a seed may be such that float32, which the attribute is, holds it exactly.
_SEEDS = 1 << 24


def draws_repeated(model: ir.Model) -> ir.Model:
    """Return a copy whose drawing nodes have seeds, those without one by their names; the model itself without any.

    What is drawn depends on the seed and on the shape only, so copies of which one was pruned draw the same.
    """
    if not any(_is_unseeded(node) for node in model.graph.all_nodes()):
        return model
    copy = model.clone()
    for node in copy.graph.all_nodes():
        if _is_unseeded(node):
            node.attributes["seed"] = _seed(node)
    return copy


def _seed(node: ir.Node) -> ir.Attr:
    seed = zlib.crc32(str(node.name).encode()) % _SEEDS
    return ir.AttrInt64("seed", seed) if _drops(node) else ir.AttrFloat32("seed", float(seed))


def _is_unseeded(node: ir.Node) -> bool:
    return node.domain == "" and (node.op_type in _DRAWS or _drops(node)) and "seed" not in node.attributes


def _drops(node: ir.Node) -> bool:
    """Say whether a node is a Dropout that may be told to drop."""
    return node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None
