"""Weights that are computed of constants in every run: their channels go as those of stored ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune, verify, verify_reading
from onnxprune.graph import load
from onnxprune.importance import score_units
from tests.channels.operator_table import Row, build, ints

LINEAR = "t = Transpose<perm = [0, 2, 3, 1]>(h)\n{}\nd = MatMul(t, w)\nr = Relu(d)\ny = MatMul(r, u)"
READER = {"u": (40, 5)}


def linear(body: str, constants: dict[str, object], units: int = 48, opset: int = 13) -> Row:
    """Compute `w`, the weight of 40 hidden units, by `body`."""
    return Row(LINEAR.format(body), units, READER | constants, opset=opset)


# Nothing else reads what they are computed of.
STORED = {
    "scaled": linear("w = Mul(v, half)", {"v": (8, 40)}),
    "weight norm": linear(
        "n = ReduceL2<axes = [1], keepdims = 1>(v)\nq = Div(g, n)\nm = Mul(v, q)\nw = Transpose(m)",
        {"v": (40, 8), "g": (40, 1)},
    ),
    "spectral norm": linear(
        "k = MatMul(v, p)\nsigma = MatMul(q, k)\nm = Div(v, sigma)\nw = Transpose(m)",
        {"v": (40, 8), "p": (8,), "q": (40,)},
    ),
    "low rank": linear("p = MatMul(b, a_)\nw = Add(v, p)", {"v": (8, 40), "b": (8, 2), "a_": (2, 40)}),
    "joined": linear("w = Concat<axis = 1>(v, v2)", {"v": (8, 30), "v2": (8, 10)}),
    "cut": linear("w = Slice(v, i0, i40, i1)", {"v": (8, 80), "i0": ints(0), "i40": ints(40), "i1": ints(1)}),
    "squeezed": linear("w = Squeeze(v, i2)", {"v": (8, 40, 1), "i2": ints(2)}),
    "both parts of a projection": Row(
        "t = Transpose<perm = [0, 2, 3, 1]>(h)\nk, l = Split<axis = 0>(v)\np = Transpose(k)\nq = Transpose(l)\n"
        "d = MatMul(t, p)\ne = MatMul(t, q)\nr = Mul(d, e)\ny = MatMul(r, u)",
        48,
        READER | {"v": (80, 8)},
        opset=13,
    ),
    "of an Einsum": Row(
        'w = Mul(v, half)\nb = Einsum<equation = "bchw,cd->bdhw">(h, w)\na = Relu(b)', 48, {"v": (8, 40)}, 40, opset=13
    ),
}
# The file would grow, or would not be quantised any more.
LEFT = {
    "scaled, and as it is": Row(
        "t = Transpose<perm = [0, 2, 3, 1]>(h)\nw = Mul(v, half)\nd = MatMul(t, w)\ne = MatMul(t, v)\nr = Mul(d, e)\n"
        "y = MatMul(r, u)",
        48,
        READER | {"v": (8, 40)},
        opset=13,
    ),
    "quantised in every run": linear(
        "q = QuantizeLinear(v, qs, z)\nw = DequantizeLinear(q, qs, z)",
        {"v": (8, 40), "qs": np.float32(0.02), "z": np.int8(0)},
    ),
    "scaled integers": linear(
        "q = DequantizeLinear(v, qs, z)\nw = Mul(q, half)",
        {"v": np.arange(320).astype(np.int8).reshape(8, 40), "qs": np.float32(0.02), "z": np.int8(0)},
    ),
    "many of one": linear("w = Expand(v, e)", {"v": (8, 1), "e": ints(8, 40)}),
}
CASES = STORED | LEFT


def loaded(row: Row, folder: Path) -> ir.Model:
    path = folder / "model.onnx"
    onnx.save(build(row), path)
    model = load(path)
    assert verify_reading(path, model)
    return model


@pytest.mark.parametrize("name", CASES)
def test_hidden_units_of_computed_weights_go(name: str, tmp_path: Path) -> None:
    model = loaded(CASES[name], tmp_path)
    channels = analyse(model)
    assert channels.unit_count == CASES[name].units
    for seed in range(3):
        keep = np.random.default_rng(seed).random(channels.unit_count) < 0.6
        for group in channels.groups:
            keep[group.units[0]] = True
        assert verify(model, channels, keep, prune(model, channels, keep), seed=seed).passed


@pytest.mark.parametrize("name", STORED)
def test_a_weight_is_stored_where_nothing_grows(name: str, tmp_path: Path) -> None:
    before = sum(onnx.numpy_helper.to_array(t).nbytes for t in build(STORED[name]).graph.initializer)
    model = loaded(STORED[name], tmp_path)
    assert sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value) <= before
    computed = {node.op_type for node in model.graph} - {"Transpose", "MatMul", "Einsum", "Relu", "Mul"}
    assert computed <= {"Conv", "Sigmoid", "Max"}


@pytest.mark.parametrize("name", LEFT)
def test_other_weights_are_computed_as_before(name: str, tmp_path: Path) -> None:
    row = LEFT[name]
    wanted = [node.op_type for node in build(row).graph.node]
    assert [node.op_type for node in loaded(row, tmp_path).graph] == wanted


@pytest.mark.parametrize("name", ["weight norm", "quantised in every run"])
def test_scores_are_those_of_the_weights_that_are_multiplied_with(name: str, tmp_path: Path) -> None:
    rising = np.linspace(0.1, 0.9, 40, dtype=np.float32)
    own = {"g": rising[:, None]} if name == "weight norm" else {"v": np.tile(rising, (8, 1))}
    row = CASES[name]
    model = loaded(replace(row, constants=row.constants | own | {"u": np.ones((40, 5), np.float32)}), tmp_path)
    channels = analyse(model)
    hidden = next(group for group in channels.groups if group.size == 40)
    scores = score_units("l2", model, channels)[hidden.units]
    assert (np.diff(scores) > 0).all()


def test_learned_queries_are_no_weight(tmp_path: Path) -> None:
    """What is made of queries that are learned has heads: stored, it would have lost them."""
    body = """t = Transpose<perm = [0, 2, 3, 1]>(h)
        p = Reshape(t, flat)
        k = MatMul(p, wk)
        k4 = Reshape(k, split)
        kt = Transpose<perm = [0, 2, 3, 1]>(k4)
        q = MatMul(queries, wq)
        q4 = Reshape(q, split)
        qt = Transpose<perm = [0, 2, 1, 3]>(q4)
        s_ = MatMul(qt, kt)
        o = Softmax<axis = -1>(s_)
        y = ReduceMax<keepdims = 0>(o)"""
    constants = {
        **{"flat": ints(2, 36, 8), "split": ints(0, 0, 2, 4)},
        **{"wk": (8, 8), "wq": (8, 8), "queries": (1, 7, 8)},
    }
    model = loaded(Row(body, 0, constants, opset=17), tmp_path)
    assert [node.op_type for node in model.graph].count("MatMul") == 3
