"""Sizes without a name are equal to none: what is rewritten by equal sizes stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.graph import load, to_bytes
from onnxprune.graph.sizes import same_sizes
from onnxprune.latency import predictor

TURNED = """
    s = Shape(x)
    h = Gather(s, two)
    w = Gather(s, three)
    folded = Concat<axis = 0>(six, w, h)
    a = Reshape(x, folded)
    b = Transpose<perm = [0, 2, 1]>(a)
    whole = Concat<axis = 0>(two, three, h, w)
    c = Reshape(b, whole)
    y = Relu(c)"""
HEADS = """
    s = Shape(x)
    b = Gather(s, one)
    t = Concat<axis = 0>(b, rest, four)
    q = Reshape(x, t)
    q1 = Transpose<perm = [1, 0, 2]>(q)
    k1 = Transpose<perm = [1, 2, 0]>(q)
    sc = MatMul(q1, k1)
    p = Softmax<axis = -1>(sc)
    o = MatMul(p, q1)
    o1 = Transpose<perm = [1, 0, 2]>(o)
    y0 = Reshape(o1, flat)
    y = Relu(y0)"""
CONSTANTS = {"one": [1], "two": [2], "three": [3], "four": [4], "six": [6], "rest": [-1], "flat": [-1, 8]}


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize(
    ("body", "declared", "shape"), [(TURNED, "2, 3, ?, ?", (2, 3, 4, 5)), (HEADS, "?, ?, 8", (3, 5, 8))]
)
def test_what_is_read_computes_what_the_file_does(
    tmp_path: Path, body: str, declared: str, shape: tuple[int, ...], opset: int
) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": {opset}]>
        net (float[{declared}] x) => (float[] y) {{ {body} }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for name, entries in CONSTANTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(entries), name))
    onnx.save(model, tmp_path / "net.onnx")
    x = (np.random.default_rng(0).standard_normal(shape).astype(np.float32),)
    (wanted,), (got,) = predictor(tmp_path / "net.onnx")(x), predictor(to_bytes(load(tmp_path / "net.onnx")))(x)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_only_what_is_known_is_equal() -> None:
    n, m, unknown = ir.SymbolicDim("n"), ir.SymbolicDim("m"), ir.SymbolicDim(None)
    assert same_sizes([2, n], [2, n])
    assert not same_sizes([n], [m])
    assert not same_sizes([unknown], [unknown])
    assert not same_sizes([2], [2, 2])
