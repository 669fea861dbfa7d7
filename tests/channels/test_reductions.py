"""Sums and norms over channels: removing channels equals the network in which their weights were set to zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.channels.zeroed import check_removal, network

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
