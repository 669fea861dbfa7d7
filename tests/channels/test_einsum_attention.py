"""Attention by Einsum: heads that a Reshape splits off, and heads that are an axis of the weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import permitted, prune, verify
from onnxprune.channels.restriction import Restriction
from onnxprune.graph import load

# Three heads; 4 entries of queries and keys, 5 of values where weights have an axis of heads.
SPLIT = """
    q1 = MatMul(x, wq)
    k1 = MatMul(x, wk)
    v1 = MatMul(x, wv)
    q = Reshape(q1, heads)
    k = Reshape(k1, heads)
    v = Reshape(v1, heads)
    s = Einsum<equation = "{scores}">(q, k)
    p = Softmax(s)
    a = Einsum<equation = "{values}">(p, v)
    a1 = Reshape(a, together)
    y = MatMul(a1, wo)"""
PROJECTED = """
    q = Einsum<equation = "bld,dhk->blhk">(x, wq)
    k = Einsum<equation = "bld,dhk->blhk">(x, wk)
    v = Einsum<equation = "bld,dhk->blhk">(x, wv)
    s = Einsum<equation = "bihd,bjhd->bhij">(q, k)
    p = Softmax(s)
    a = Einsum<equation = "bhij,bjhd->bihd">(p, v)
    y = Einsum<equation = "bihd,hdo->bio">(a, wo)"""
JOINED = {"wq": (6, 12), "wk": (6, 12), "wv": (6, 12), "wo": (12, 2)}
APART = {"wq": (6, 3, 4), "wk": (6, 3, 4), "wv": (6, 3, 5), "wo": (3, 5, 2)}
FORMS = {
    "split": (SPLIT.format(scores="bihd,bjhd->bhij", values="bhij,bjhd->bihd"), JOINED, [4, 4]),
    "split, scores by key": (SPLIT.format(scores="bjhd,bihd->bhji", values="bhji,bihd->bjhd"), JOINED, [4, 4]),
    "split, other letters": (SPLIT.format(scores="bihd,bjhd->bhij", values="ahij,ajhd->aihd"), JOINED, [4, 4]),
    "an axis of the weights": (PROJECTED, APART, [4, 5]),
}


def network(body: str, weights: dict[str, tuple[int, ...]], path: Path) -> ir.Model:
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]> net (float[N, L, 6] x) => (float[N, L, 2] y) {{ {body} }}"""
    )
    rng = np.random.default_rng(0)
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    for name, array in (constants | {"heads": np.array([0, 0, 3, 4]), "together": np.array([0, 0, -1])}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return load(path)


@pytest.mark.parametrize("unit", ["heads", "head-dim"])
@pytest.mark.parametrize("form", FORMS)
def test_heads_and_their_entries_go(form: str, unit: Any, tmp_path: Path) -> None:
    body, weights, entries = FORMS[form]
    model = network(body, weights, tmp_path / "net.onnx")
    channels = permitted(model, Restriction(units=(unit,)))
    expected = [3] if unit == "heads" else entries
    assert Counter((group.kind, group.size) for group in channels.groups) == Counter((unit, n) for n in expected)
    keep = np.arange(channels.unit_count) % 2 == 0
    pruned = prune(model, channels, keep)
    for length in (5, 3):
        verify(model, channels, keep, pruned, input_shapes={"x": (2, length, 6)})


def test_a_product_without_softmax_is_no_attention(tmp_path: Path) -> None:
    model = network(PROJECTED.replace("Softmax", "Relu"), APART, tmp_path / "net.onnx")
    assert {group.kind for group in permitted(model).groups} == {"channels"}
