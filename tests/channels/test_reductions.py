"""Sums and norms over channels, and means of norms: removal equals weights that were set to zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import load
from tests.channels.zeroed import check_removal, network
from tests.formats.conversion import cast_weights

CONSTANTS = {
    "w": (8, 3, 3, 3),
    "b": (8,),
    "v": (8, 8, 1, 1),
    "g": (8, 1, 1),
    "few": (5, 8, 1, 1),
    "rows": (10, 8),
    "two": np.float32(2),
    "small": np.float32(1e-6),
    "channel": np.array([1]),
    "inner": np.array([1, 2, 3]),
    "pixels": np.array([2, 3]),
    "last": np.array([-1]),
    "box": np.array([0, 8, -1]),
    "both": np.array([-1, 1]),
    "flat": np.array([0, -1]),
}
# From `h`, 8 channels behind a Relu, to `y`, and how many units that leaves.
BODIES = {
    "L2Norm": ("n = ReduceL2(h, channel)\nc = Clip(n, small)\nd = Div(h, c)\na = Mul(d, g)\ny = Conv(a, few)", 8),
    "normalised": (
        "n = ReduceL2(h, channel)\nc = Clip(n, small)\ns = Shape(h)\ne = Expand(c, s)\nd = Div(h, e)\ny = Conv(d, few)",
        8,
    ),
    "spelled out": (
        "q = Pow(h, two)\nt = ReduceSum(q, channel)\nm = Add(t, small)\nn = Sqrt(m)\nd = Div(h, n)\ny = Conv(d, few)",
        8,
    ),
    "LpNormalization": ("d = LpNormalization<axis = 1, p = 2>(h)\ny = Conv(d, few)", 8),
    "LpNormalization of sums": ("d = LpNormalization<axis = 1, p = 1>(h)\ny = Conv(d, few)", 8),
    "all but samples": ("n = ReduceSumSquare(h, inner)\nm = Add(n, small)\nd = Div(h, m)\ny = Conv(d, few)", 8),
    "gate": ("p = Mul(h, g)\nt = ReduceSum(p, channel)\ns = Sigmoid(t)\nd = Mul(h, s)\ny = Conv(d, few)", 8),
    "score": ("p = Mul(h, g)\ny = ReduceSum<keepdims = 0>(p, channel)", 8),
    "channels and pixels": (
        "f = Reshape(h, box)\no = ReduceL1<keepdims = 0>(f, both)\nn = Unsqueeze(o, channel)\nm = Add(n, small)\n"
        "r = GlobalMaxPool(h)\nk = Reshape(r, flat)\nd = Div(k, m)\ny = Gemm<transB = 1>(d, rows)",
        8,
    ),
    "global response": (
        "s = ReduceL2(h, pixels)\nm = ReduceMean(s, channel)\ne = Add(m, small)\nn = Div(s, e)\nd = Mul(h, n)\n"
        "y = Conv(d, few)",
        8,
    ),
    "global response, spelled out": (
        "q = Mul(h, h)\nt = ReduceSum(q, pixels)\ns = Sqrt(t)\nm = ReduceMean(s)\ne = Add(m, small)\nn = Div(s, e)\n"
        "d = Mul(h, n)\ny = Conv(d, few)",
        8,
    ),
    "mean of weighed norms": (
        "s = ReduceL2(h, pixels)\nr = Mul(s, g)\nm = ReduceMean<keepdims = 0>(r, inner)\nc = Unsqueeze(m, inner)\n"
        "e = Add(c, small)\nd = Div(h, e)\ny = Conv(d, few)",
        8,
    ),
    "mean of norms that are weighed": (
        "s = ReduceL2(h, pixels)\nr = Mul(g, s)\nm = ReduceMean(r, channel)\nd = Div(h, m)\ny = Conv(d, few)",
        8,
    ),
    "cosine head": (
        "r = GlobalMaxPool(h)\nk = Reshape(r, flat)\nn = ReduceL2(k, last)\nm = Add(n, small)\nd = Div(k, m)\n"
        "o = ReduceL2(rows, last)\nu = Div(rows, o)\nt = Transpose(u)\ny = MatMul(d, t)",
        8,
    ),
    "two layers": (
        "n = ReduceL2(h, channel)\nc = Clip(n, small)\nd = Div(h, c)\ni = Conv(d, v)\nj = Relu(i)\n"
        "o = ReduceL1(j, channel)\nc2 = Clip(o, small)\nd2 = Div(j, c2)\ny = Conv(d2, few)",
        16,
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("seed", range(3))
def test_removal_equals_weights_of_zero(name: str, seed: int, tmp_path: Path) -> None:
    body, units = BODIES[name]
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 7)).astype(np.float32)
    check_removal(
        network(body, CONSTANTS, "Conv<pads = [1, 1, 1, 1]>"),
        {"w": 0, "b": 0, "v": 0},
        x,
        units=units,
        folder=tmp_path,
        seed=seed,
    )


def test_a_mean_of_norms_can_be_cut_again(tmp_path: Path) -> None:
    onnx.save(network(BODIES["global response"][0], CONSTANTS, "Conv<pads = [1, 1, 1, 1]>"), tmp_path / "whole.onnx")
    model = load(tmp_path / "whole.onnx")
    once = ir.serde.serialize_model(prune(model, analyse(model), np.arange(8) != 3))
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 7)).astype(np.float32)
    check_removal(once, {"w": 0, "b": 0}, x, units=7, folder=tmp_path, seed=0)


@pytest.mark.parametrize("dtype", [onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16])
def test_means_of_norms_of_half_precision(dtype: int, tmp_path: Path) -> None:
    wide = network(BODIES["global response"][0], CONSTANTS | {"w": (12, 3, 3, 3), "b": (12,), "few": (5, 12, 1, 1)})
    onnx.save(cast_weights(wide, dtype, borders=True), tmp_path / "half.onnx")
    model = load(tmp_path / "half.onnx")
    channels = analyse(model)
    assert channels.unit_count == 12
    for kept in range(1, 12):
        keep = np.arange(12) < kept
        assert verify(model, channels, keep, prune(model, channels, keep), input_shapes={"x": (2, 3, 5, 7)}).passed


def test_a_normalisation_of_sums_is_no_mean_of_norms(tmp_path: Path) -> None:
    body = """s = ReduceSum<keepdims = 0>(h, pixels)
        m = ReduceMean(s, each)
        d = Sub(s, m)
        q = Mul(d, d)
        u = ReduceMean(q, each)
        r = Sqrt(u)
        n = Div(d, r)
        y = Gemm<transB = 1>(n, rows)"""
    onnx.save(network(body, CONSTANTS | {"each": np.array([1])}), tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert analyse(model).unit_count == 0
    assert [group.kind for group in analyse(model, embedding=True).groups] == ["embedding"]
