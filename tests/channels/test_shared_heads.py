"""Heads of queries that share keys and values, and heads that shared an axis with windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import Restriction, analyse, permitted, prune, verify
from tests.channels.filled import filled


def test_heads_of_an_operators_queries_share_keys_and_values(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 23]>
        net (float[2, 5, 16] x) => (float[2, 5, 7] y) {
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            a = Attention<q_num_heads = 4, kv_num_heads = 2>(q, k, v)
            y = MatMul(a, wo)
        }""")
    network = filled(model, {"wq": (16, 24), "wk": (16, 12), "wv": (16, 12), "wo": (24, 7)}, {}, tmp_path)
    channels = analyse(network)
    assert [(group.kind, group.size) for group in channels.groups] == [("head-dim", 6), ("head-dim", 6)]
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[1:3]] = False
    pruned = prune(network, channels, keep)
    verify(network, channels, keep, pruned)
    operator = next(node for node in pruned.graph if node.op_type == "Attention")
    assert (operator.attributes.get_int("q_num_heads"), operator.attributes.get_int("kv_num_heads")) == (4, 2)
    heads = analyse(network, "heads")
    assert [(group.kind, group.size) for group in heads.groups] == [("heads", 2)]
    keep = np.array([False, True])
    pruned = prune(network, heads, keep)
    verify(network, heads, keep, pruned)
    operator = next(node for node in pruned.graph if node.op_type == "Attention")
    assert (operator.attributes.get_int("q_num_heads"), operator.attributes.get_int("kv_num_heads")) == (2, 1)


@pytest.mark.parametrize("rotated", [False, True])
def test_heads_of_an_operators_queries_go_without_the_single_head_that_they_share(
    rotated: bool, tmp_path: Path
) -> None:
    turned = "q1 = RotaryEmbedding<num_heads = 4>(q, cos, sin)\n k1 = RotaryEmbedding<num_heads = 1>(k, cos, sin)"
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 23]>
        net (float[2, 5, 16] x) => (float[2, 5, 7] y) {{
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            {turned if rotated else ""}
            a = Attention<q_num_heads = 4, kv_num_heads = 1>({"q1, k1" if rotated else "q, k"}, v)
            y = MatMul(a, wo)
        }}""")
    shapes = {"wq": (16, 24), "wk": (16, 6), "wv": (16, 6), "wo": (24, 7), "cos": (2, 5, 3), "sin": (2, 5, 3)}
    network = filled(model, shapes, {}, tmp_path)
    heads = analyse(network, "heads")
    assert [(group.kind, group.size) for group in heads.groups] == [("heads", 4)]
    keep = np.array([True, False, True, True])
    pruned = prune(network, heads, keep)
    verify(network, heads, keep, pruned)
    operator = next(node for node in pruned.graph if node.op_type == "Attention")
    assert (operator.attributes.get_int("q_num_heads"), operator.attributes.get_int("kv_num_heads")) == (3, 1)
    assert [pruned.graph.initializers[name].shape for name in ("wq", "wk", "wv")] == [(16, 18), (16, 6), (16, 6)]


@pytest.mark.parametrize("shared", [1, 2])
def test_heads_of_queries_go_with_the_keys_and_values_that_they_share(shared: int, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 17]>
        net (float[2, 5, 12] x) => (float[2, 5, 4] y) {
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            q1 = Reshape(q, four)
            k1 = Reshape(k, fewer)
            v1 = Reshape(v, fewer)
            q2 = Transpose<perm = [0, 2, 1, 3]>(q1)
            k2 = Transpose<perm = [0, 2, 3, 1]>(k1)
            v2 = Transpose<perm = [0, 2, 1, 3]>(v1)
            k3 = Unsqueeze(k2, axis)
            v3 = Unsqueeze(v2, axis)
            k4 = Expand(k3, keys)
            v4 = Expand(v3, values)
            k5 = Reshape(k4, keys_joined)
            v5 = Reshape(v4, values_joined)
            s = MatMul(q2, k5)
            p = Softmax<axis = -1>(s)
            a = MatMul(p, v5)
            b = Transpose<perm = [0, 2, 1, 3]>(a)
            c = Reshape(b, joined)
            y = MatMul(c, wo)
        }""")
    shapes = {"wq": (12, 32), "wk": (12, 8 * shared), "wv": (12, 8 * shared), "wo": (32, 4)}
    sizes = {"four": [0, 0, 4, 8], "fewer": [0, 0, shared, 8], "axis": [2], "joined": [0, 0, -1]}
    sizes |= {"keys": [2, shared, 4 // shared, 8, 5], "keys_joined": [2, 4, 8, 5]}
    sizes |= {"values": [2, shared, 4 // shared, 5, 8], "values_joined": [2, 4, 5, 8]}
    network = filled(model, shapes, sizes, tmp_path)
    heads = permitted(network, Restriction(units=("heads",)))
    assert [(group.kind, group.size) for group in heads.groups] == [("heads", 4 if shared == 1 else 2)]
    keep = np.arange(heads.unit_count) % 2 == 1
    pruned = prune(network, heads, keep)
    verify(network, heads, keep, pruned)
    # A single head of keys and values stays.
    assert [pruned.graph.initializers[name].shape for name in ("wq", "wk", "wv")] == [(12, 16), (12, 8), (12, 8)]
    assert {group.kind for group in permitted(network, Restriction(units=("head-dim",))).groups} == {"head-dim"}


@pytest.mark.parametrize("scores", ["s", "bias, s", "s, bias"])
def test_heads_of_queries_go_without_keys_and_values_that_are_no_heads(scores: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 17]>
        net (float[2, 5, 12] x) => (float[2, 5, 4] y) {{
            qkv = MatMul(x, w)
            whole = Unsqueeze(qkv, axis)
            q, k, v = Split<axis = -1>(whole, parts)
            q1 = Reshape(q, four)
            q2 = Transpose<perm = [0, 2, 1, 3]>(q1)
            k1 = Transpose<perm = [0, 1, 3, 2]>(k)
            s = MatMul(q2, k1)
            t = {"Add" if "bias" in scores else "Identity"}({scores})
            p = Softmax<axis = -1>(t)
            a = MatMul(p, v)
            b = Transpose<perm = [0, 2, 1, 3]>(a)
            c = Reshape(b, joined)
            y = MatMul(c, wo)
        }}""")
    sizes = {"axis": [1], "parts": [32, 8, 8], "four": [2, 5, 4, 8], "joined": [0, 0, -1]}
    network = filled(model, {"w": (12, 48), "wo": (32, 4), "bias": (4, 1, 5)}, sizes, tmp_path)
    heads = permitted(network, Restriction(units=("heads",)))
    assert [(group.kind, group.size) for group in heads.groups] == [("heads", 4)]
    keep = np.arange(4) != 1
    pruned = prune(network, heads, keep)
    verify(network, heads, keep, pruned)
    assert pruned.graph.initializers["w"].shape == (12, 24 + 16)


@pytest.mark.parametrize("windows", [1, 6])
def test_heads_that_shared_an_axis_with_windows(windows: int, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 17]>
        net (float[{windows}, 7, 12] x) => (float[{windows}, 7, 3] y) {{
            qkv = MatMul(x, w)
            split = Reshape(qkv, parts)
            first = Transpose<perm = [2, 0, 3, 1, 4]>(split)
            joined = Reshape(first, together)
            q, k, v = Split<axis = 0>(joined)
            q1 = Reshape(q, apart)
            k1 = Reshape(k, apart)
            v1 = Reshape(v, apart)
            k2 = Transpose<perm = [0, 1, 3, 2]>(k1)
            s = MatMul(q1, k2)
            p = Softmax<axis = -1>(s)
            a = MatMul(p, v1)
            b = Transpose<perm = [0, 2, 1, 3]>(a)
            c = Reshape(b, merged)
            y = MatMul(c, wo)
        }}""")
    sizes = {"parts": [windows, 7, 3, 4, 5], "together": [3, windows * 4, 7, 5], "apart": [windows, 4, 7, 5]}
    network = filled(model, {"w": (12, 60), "wo": (20, 3)}, sizes | {"merged": [0, 0, -1]}, tmp_path)
    heads = permitted(network, Restriction(units=("heads",)))
    assert [(group.kind, group.size) for group in heads.groups] == [("heads", 4)]
    keep = np.arange(4) != 2
    pruned = prune(network, heads, keep)
    verify(network, heads, keep, pruned)
    assert pruned.graph.initializers["wo"].shape == (15, 3)
