"""What a branch reads of the graph around it stays as the branch knows it, whatever is rewritten there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxprune

TAKEN_IN_BRANCHES = """
    net (float[N, 3, 6] x, bool c) => (float[N, 5, 6] y)
    <int64[2] parts = {4, 4}, int64 first = {0}, int64 second = {1}>
    {
        a = Conv(x, w1)
        taken = SplitToSequence<axis = 1>(a, parts)
        z = If (c) <
            then_branch = t () => (float[N, 4, 6] t_) { t0 = SequenceAt(taken, first) t_ = Relu(t0) },
            else_branch = e () => (float[N, 4, 6] e_) { e0 = SequenceAt(taken, second) e_ = Relu(e0) }
        >
        b = Conv(z, w2)
        y = Conv(b, w3)
    }"""
UNFOLDED_IN_A_BRANCH = """
    net (float[N, 3, 4] x, bool c, float[N, 2, 4, 6] other) => (float[N, 5, 6] y)
    <int64[4] four = {-1, 2, 6, 4}, int64[3] three = {-1, 6, 4},
     int64[4] back = {-1, 2, 4, 6}, int64[3] flat = {0, 8, 6}>
    {
        a = Conv(x, w1)
        f = Reshape(a, four)
        g = Reshape(f, three)
        turned = Transpose<perm = [0, 2, 1]>(g)
        z = If (c) <
            then_branch = t () => (float[N, 2, 4, 6] t_) <float[N, 2, 4, 6] t0>
                { t0 = Reshape(turned, back) t_ = Relu(t0) },
            else_branch = e () => (float[N, 2, 4, 6] e_) { e_ = Relu(other) }
        >
        m = Reshape(z, flat)
        b = Conv(m, w2)
        y = Conv(b, w3)
    }"""
ATTENDED_IN_A_BRANCH = """
    net (float[5, N, 16] x, bool c) => (float[5, N, 16] y, float[A, B, D] z)
    <int64[3] heads = {5, -1, 4}, int64[3] flat = {5, -1, 16}>
    {
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        v = MatMul(x, wv)
        qr = Reshape(q, heads)
        kr = Reshape(k, heads)
        vr = Reshape(v, heads)
        qt = Transpose<perm = [1, 0, 2]>(qr)
        kt = Transpose<perm = [1, 2, 0]>(kr)
        vt = Transpose<perm = [1, 0, 2]>(vr)
        scores = MatMul(qt, kt)
        attention = Softmax<axis = -1>(scores)
        o = MatMul(attention, vt)
        ot = Transpose<perm = [1, 0, 2]>(o)
        oo = Reshape(ot, flat)
        y = MatMul(oo, wo)
        z = If (c) <
            then_branch = t () => (float[A, B, D] t_) { t_ = Transpose<perm = [0, 2, 1]>(attention) },
            else_branch = e () => (float[A, B, D] e_) { e_ = Relu(attention) }
        >
    }"""
SQUARE = dict.fromkeys(("wq", "wk", "wv", "wo"), (16, 16))


@pytest.mark.parametrize(
    ("graph", "shapes", "sizes"),
    [
        pytest.param(
            TAKEN_IN_BRANCHES, {"w1": (8, 3, 1), "w2": (8, 4, 1), "w3": (5, 8, 1)}, {"x": (2, 3, 6)}, id="taken"
        ),
        pytest.param(
            UNFOLDED_IN_A_BRANCH, {"w1": (12, 3, 1), "w2": (8, 8, 1), "w3": (5, 8, 1)}, {"x": (2, 3, 4)}, id="unfolded"
        ),
        pytest.param(ATTENDED_IN_A_BRANCH, SQUARE, {"x": (5, 2, 16)}, id="attended"),
    ],
)
def test_values_that_branches_read_are_left_to_them(
    tmp_path: Path, graph: str, shapes: dict[str, tuple[int, ...]], sizes: dict[str, tuple[int, ...]]
) -> None:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}')
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.checker.check_model(proto)
    onnx.save(proto, tmp_path / "net.onnx")
    report = onnxprune.prune(tmp_path / "net.onnx", ratio=0.5, round_to=1, input_shapes=sizes).report
    assert report.after.parameters < report.before.parameters
