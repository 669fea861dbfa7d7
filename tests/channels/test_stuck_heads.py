"""Attention of which the entries of queries and keys are stuck: whole heads go, of the values too, where they can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import Restriction, analyse, permitted, prune, verify
from tests.channels.test_attention import ROTATED, filled

PROJECTIONS = "q = MatMul(x, wq)\n k = MatMul(x, wk)\n v = MatMul(x, wv)\n"
# From the heads `q3` and `k3` of queries and keys, and `v2` of values, to the output.
WEIGHED = """
    k4 = Transpose<perm = [0, 1, 3, 2]>(k3)
    s = MatMul(q3, k4)
    p = Softmax<axis = -1>(s)
    a = MatMul(p, v3)
    a1 = Transpose<perm = [0, 2, 1, 3]>(a)
    a2 = Reshape(a1, joined)
    y = MatMul(a2, wo)"""
SPLIT = "\n".join(
    f"{name}1 = Reshape({name}, split)\n{name}2 = Transpose<perm = [0, 2, 1, 3]>({name}1)" for name in "qkv"
)


def turned(name: str) -> str:
    """Rotate entries in pairs as exporters spell it out, by angles that the caller gives for each position."""
    return f"""
        {name}a = Slice({name}2, none, half, last)
        {name}b = Slice({name}2, half, whole, last)
        {name}n = Neg({name}b)
        {name}r = Concat<axis = -1>({name}n, {name}a)
        {name}c = Mul({name}2, cos)
        {name}s = Mul({name}r, sin)
        {name}3 = Add({name}c, {name}s)"""


GRAPHS = {f"RotaryEmbedding on {form}": body for form, body in ROTATED.items()} | {
    "rotated by Slices, Neg and Concat": f"{SPLIT} {turned('q')} {turned('k')} v3 = Identity(v2) {WEIGHED}",
    "normalised": f"""{SPLIT}
        q3 = LayerNormalization(q2, scale)
        k3 = LayerNormalization(k2, scale)
        v3 = Identity(v2)
        {WEIGHED}""",
}
SIZES = {"split": [0, 0, 4, 6], "joined": [0, 0, -1], "none": [0], "half": [3], "whole": [6], "last": [-1]}
MATRICES = {"wq": (16, 24), "wk": (16, 24), "wv": (16, 24), "wo": (24, 7)}


def loaded(body: str, weights: dict[str, tuple[int, ...]], sizes: dict[str, list[int]], folder: Path) -> ir.Model:
    angles = ", float[5, 6] cos, float[5, 6] sin" if "Slice" in body else ""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 23]>
        net (float[2, 5, 16] x{angles}) => (float[2, 5, 7] y) {{ {PROJECTIONS} {body} }}""")
    return filled(model, weights, sizes, folder)


@pytest.mark.parametrize("name", GRAPHS)
def test_all_of_an_attention_go_by_heads(name: str, tmp_path: Path) -> None:
    weights = MATRICES | {"scale": (6,)}
    if "Slice" not in GRAPHS[name]:
        weights |= {"cos": (2, 5, 3), "sin": (2, 5, 3)}
    network = loaded(GRAPHS[name], weights, SIZES, tmp_path)
    channels = permitted(network)
    assert [(group.kind, group.size, len(group.producers)) for group in channels.groups] == [("heads", 4, 3)]
    assert [(group.kind, group.size) for group in analyse(network, "head-dim").groups] == [("head-dim", 6)]
    keep = np.array([True, False, True, False])
    pruned = prune(network, channels, keep)
    verify(network, channels, keep, pruned)
    assert [pruned.graph.initializers[name].shape for name in MATRICES] == [(16, 12)] * 3 + [(12, 7)]


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("shared", [1, 2])
def test_of_values_that_heads_share_entries_go_where_heads_cannot(shared: int, stuck: bool, tmp_path: Path) -> None:
    repeated = "\n".join(
        f"{name}u = Unsqueeze({name}2, two)\n{name}e = Expand({name}u, times)\n{name}h = Reshape({name}e, heads)"
        for name in "kv"
    )
    split = SPLIT.replace("(k, split)", "(k, fewer)").replace("(v, split)", "(v, fewer)")
    body = f"""{split} {repeated}
        q3 = LayerNormalization(q2, scale)
        k3 = LayerNormalization(kh, scale)
        top = ReduceMax(vh, one)
        v3 = {"Add(vh, top)" if stuck else "Identity(vh)"}
        {WEIGHED}"""
    times = {"times": [2, shared, 4 // shared, 5, 6], "heads": [2, 4, 5, 6]}
    sizes = SIZES | {"fewer": [0, 0, shared, 6], "one": [1], "two": [2]} | times
    network = loaded(body, MATRICES | {"wk": (16, 6 * shared), "wv": (16, 6 * shared), "scale": (6,)}, sizes, tmp_path)
    channels = permitted(network)
    heads = 0 if stuck else 4 if shared == 1 else 2
    assert permitted(network, Restriction(units=("heads",))).unit_count == heads
    assert [(g.kind, g.size) for g in channels.groups] == [("heads", heads) if heads else ("head-dim", 6)]
    keep = np.arange(channels.unit_count) % 2 == 0
    verify(network, channels, keep, prune(network, channels, keep))
