"""Rows of the operator table for matrix products: Gemm and MatMul, of weights on either side."""

from __future__ import annotations

import numpy as np

from tests.channels.operator_table import Row, ints

# Samples by channels, and channels by samples.
ROW = "p = ReduceMax<axes = [2, 3], keepdims = 0>(h)\n"
COLUMN = f"{ROW}b = Transpose(p)\n"

PRODUCTS: dict[str, Row] = {
    "Gemm": Row(
        "b = ReduceMean<axes = [2, 3], keepdims = 0>(h)\nd = Gemm(b, w, v)\ny = Gemm<transB = 1>(d, u)",
        units=20,
        constants={"w": (8, 12), "v": (12,), "u": (5, 12)},
        opset=13,
    ),
    "MatMul": Row(
        "b = Transpose<perm = [0, 2, 3, 1]>(h)\nd = MatMul(b, w)\ny = MatMul(d, u)",
        units=20,
        constants={"w": (8, 12), "u": (12, 5)},
    ),
    "MatMul with a vector": Row(
        "t = Transpose<perm = [0, 2, 3, 1]>(h)\nd = MatMul(t, w)\ny = MatMul(d, v)",
        units=20,
        constants={"w": (8, 12), "v": (12,)},
    ),
    "MatMul of a vector": Row(
        "r = Reshape(h, s1)\nd = MatMul(w, r)\ny = MatMul(v, d)",
        units=20,
        constants={"s1": ints(2, 8, 36), "w": (12, 8), "v": (12,)},
    ),
    "MatMul of two vectors": Row(
        "b = ReduceMax<keepdims = 0>(h, ax)\ny = MatMul(b, v)", constants={"ax": ints(0, 2, 3), "v": (8,)}
    ),
    "MatMul of two activations": Row(
        "b = Flatten<axis = 2>(h)\nr = Reshape(h, s1)\nt = Transpose<perm = [0, 2, 1]>(r)\nz = MatMul(t, r)\n"
        "e = MatMul(r, z)\na = Reshape(e, s2)",
        constants={"s1": ints(2, 8, 36), "s2": ints(2, 8, 6, 6)},
    ),
    "Gemm of a weight with columns": Row(
        f"{COLUMN}d = Gemm(w, b, k)\nr = Relu(d)\ny = Gemm<transA = 1>(u, r)",
        units=20,
        constants={"w": (12, 8), "k": (12, 1), "u": (12, 5)},
        opset=13,
    ),
    "Gemm of a weight with rows": Row(
        f"{ROW}d = Gemm<transB = 1>(w, p, k)\nr = Relu(d)\ny = Gemm(u, r)",
        units=20,
        constants={"w": (12, 8), "k": (2,), "u": (5, 12)},
        opset=13,
    ),
    "Gemm of a quantised weight with columns": Row(
        f"{COLUMN}q = DequantizeLinear<axis = 0>(w, s_, z_)\nd = Gemm(q, b)\nr = Relu(d)\ny = Gemm(u, r)",
        units=20,
        constants={
            "w": np.arange(96, dtype=np.int8).reshape(12, 8),
            "s_": np.linspace(0.01, 0.02, 12, dtype=np.float32),
            "z_": np.zeros(12, np.int8),
            "u": (5, 12),
        },
        opset=13,
    ),
    "MatMul of a scaled weight with columns": Row(
        f"{COLUMN}q = Mul(w, half)\nv = Neg(w)\nd = MatMul(q, b)\ne = MatMul(v, b)\nr = Mul(d, e)\ny = MatMul(u, r)",
        units=20,
        constants={"w": (12, 8), "u": (5, 12)},
        opset=13,
    ),
    "Gemm of two activations": Row(f"{COLUMN}d = Gemm(p, b)\ny = Relu(d)", opset=13),
}
