"""Rows of the operator table for reductions and norms: sums over channels let them go, anything else fixes them."""

from __future__ import annotations

import numpy as np

from tests.channels.operator_table import SCALE, Row, ints

SUMS = ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
OTHERS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")

REDUCTIONS: dict[str, Row] = {
    **{op: Row(f"a = {op}<axes = [2, 3]>(h)", opset=11) for op in SUMS + OTHERS},
    **{f"{op} of channels": Row(f"a = {op}<axes = [1]>(h)", read=1, opset=11) for op in SUMS},
    **{f"{op} of channels": Row(f"a = {op}<axes = [1]>(h)", units=0, read=1, opset=11) for op in OTHERS},
    **{f"{op} of channels 18": Row(f"a = {op}(h, i)", constants={"i": ints(-3)}, read=1, opset=18) for op in SUMS},
    **{
        f"{op} of channels and rows": Row(
            f"b = {op}<keepdims = 0>(h, i)\na = Unsqueeze(b, u)", constants={"i": ints(2, 1), "u": ints(1, 2)}, read=1
        )
        for op in SUMS
    },
    **{f"{op} of everything": Row(f"b = {op}<keepdims = 0>(h)\na = Mul(h, b)") for op in SUMS},
    **{f"{op} over no axes": Row(f"b = {op}(h, i)\na = Mul(h, b)", constants={"i": ints()}) for op in SUMS},
    **{f"{op} of nothing": Row(f"a = {op}<noop_with_empty_axes = 1>(h)") for op in SUMS},
    "ReduceSum 13": Row("a = ReduceSum(h, i)", constants={"i": ints(1)}, read=1, opset=13),
    "ReduceSum of channels in two axes": Row(
        "r = Reshape(c, f)\nb = ReduceSum(r, i)\na = Squeeze(b, j)",
        units=4,
        constants={"f": ints(2, 4, 2, 6, 6), "i": ints(1, 2), "j": ints(1)},
        read=1,
    ),
    "ReduceSum of channels and pixels in one axis": Row(
        "f = Flatten(h)\nb = ReduceSum(f, i)\nd = Unsqueeze(b, u)\na = Mul(h, d)",
        constants={"i": ints(1), "u": ints(2, 3)},
    ),
    "ReduceSum of axes that are computed": Row(
        "m = ReduceMax<keepdims = 0>(x)\nz = Mul(m, zero)\nf = Add(z, one)\ni = Cast<to = 7>(f)\n"
        "e = Reshape(i, one_)\na = ReduceSum(h, e)",
        units=0,
        constants={"zero": np.float32(0), "one_": ints(1)},
        read=1,
    ),
    "ReduceSum by the number of channels": Row(
        "p = ReduceSum(h, i)\nn = Shape<start = 1, end = 2>(h)\nf = Cast<to = 1>(n)\nq = Div(p, f)\na = Sub(h, q)",
        constants={"i": ints(1)},
    ),
    "Softmax of channels, spelled out": Row("e = Exp(h)\nz = ReduceSum(e, i)\na = Div(e, z)", constants={"i": ints(1)}),
    "norm over channels": Row(
        "n = ReduceL2(h, i)\nd = Clip(n, tenth)\nr = Shape(h)\ne = Expand(d, r)\na = Div(h, e)",
        constants={"i": ints(1)},
    ),
    "attention over channels": Row(
        "p = Mul(h, t)\nn = ReduceSum(p, i)\ne = Sigmoid(n)\na = Mul(h, e)", constants={"i": ints(1)} | SCALE
    ),
    "LpNormalization": Row("a = LpNormalization<axis = 3>(h)"),
    "LpNormalization of channels": Row("a = LpNormalization<axis = 1>(h)"),
    "LpNormalization of channels by their sum": Row("a = LpNormalization<axis = -3, p = 1>(h)"),
    "LpNormalization of weights": Row(
        "n = LpNormalization<axis = 1>(w)\na = Conv(h, n)", units=12, constants={"w": (12, 8, 1, 1)}, read=12
    ),
    "DFT": Row(
        "u = Unsqueeze(h, i)\nf = DFT<axis = 3>(u)\nm = ReduceL2(f, i)\na = Squeeze(m, i)",
        constants={"i": ints(4)},
        opset=18,
    ),
    "DFT of channels": Row(
        "u = Unsqueeze(h, i)\nf = DFT<axis = 1>(u)\nm = ReduceL2(f, i)\na = Squeeze(m, i)",
        units=0,
        constants={"i": ints(4)},
        opset=18,
    ),
}
