"""Rows of the operator table for what picks parts of an axis, Slice, Split and Gathers, and for what writes there."""

from __future__ import annotations

import numpy as np

from tests.channels.operator_table import Row, ints

# Embeddings of 8 channels, 50 of them: smaller tables are computed beforehand.
BYTES = (np.arange(400) % 100).astype(np.int8).reshape(50, 8)
TABLES: dict[str, tuple[str, dict[str, object]]] = {
    "quantised": (
        "d = DequantizeLinear<axis = 1>(w, q, z)",
        {
            "w": BYTES,
            "q": np.linspace(0.01, 0.02, 8, dtype=np.float32),
            "z": np.arange(8, dtype=np.int8),
        },
    ),
    "quantised row by row": (
        "d = DequantizeLinear<axis = 0>(w, q)",
        {"w": BYTES, "q": np.linspace(0.01, 0.02, 50, dtype=np.float32)},
    ),
    "cast": ("d = Cast<to = 1>(w)", {"w": np.linspace(-1, 1, 400).astype(np.float16).reshape(50, 8)}),
    "scaled": ("d = Mul(w, half)", {"w": (50, 8)}),
}

SELECTIONS: dict[str, Row] = {
    "Slice of pixels by bounds that are computed": Row(
        "m = ReduceMax<keepdims = 0>(x)\nz = Mul(m, zero)\nf = Add(z, five)\ni = Cast<to = 7>(f)\n"
        "e = Reshape(i, one_)\na = Slice(h, zero_, e, three_)",
        constants={"zero": np.float32(0), "five": np.float32(5), "one_": ints(1), "zero_": ints(0), "three_": ints(3)},
    ),
    "Slice": Row("a = Slice(h, b, e, ax)", constants={"b": ints(2), "e": ints(7), "ax": ints(1)}, read=5),
    "Slice 1": Row("a = Slice<starts = [2], ends = [7], axes = [1]>(h)", read=5, opset=9),
    "Slice by a step": Row(
        "a = Slice(h, b, e, ax, st)",
        constants={"b": ints(0), "e": ints(8), "ax": ints(1), "st": ints(2)},
        read=4,
    ),
    "Slice by steps back": Row(
        "a = Slice(h, b, e, ax, st)",
        constants={"b": ints(-1, 5), "e": ints(-99, 0), "ax": ints(1, 2), "st": ints(-1, -2)},
    ),
    "Slice by steps of 32 bits": Row(
        "a = Slice(h, b, e, ax, st)",
        constants={n: np.array([v], np.int32) for n, v in {"b": 7, "e": 0, "ax": -3, "st": -3}.items()},
        read=3,
    ),
    "Slice into pairs": Row(
        "p = Slice(h, zero_, e, u, two_)\nq = Slice(h, u, e, u, two_)\nr = Mul(p, t)\nb = Sub(r, q)\n"
        "d = Add(p, q)\na = Concat<axis = 1>(b, d)",
        units=4,
        constants={"zero_": ints(0), "u": ints(1), "two_": ints(2), "e": ints(2**62), "t": np.float32(0.3)},
    ),
    "Slice backwards": Row(
        "a = Slice(h, b, e, ax)", constants={"b": ints(-3), "e": ints(2**62), "ax": ints(-3)}, read=3
    ),
    "ScatterElements": Row(
        'n = Mul(h, t)\na = ScatterElements<axis = 2, reduction = "add">(h, i, n)',
        constants={"i": np.arange(576).reshape(2, 8, 6, 6) % 5, "t": np.float32(-0.4)},
    ),
    "Scatter": Row(
        "n = Neg(h)\na = Scatter<axis = 2>(h, i, n)",
        constants={"i": np.tile(np.arange(6)[::-1].reshape(1, 1, 6, 1), (2, 8, 1, 6))},
        opset=10,
    ),
    "ScatterElements along the channels": Row(
        "a = ScatterElements<axis = 1>(h, i, h)",
        0,
        constants={"i": np.tile(np.arange(8)[::-1].reshape(1, 8, 1, 1), (2, 1, 6, 6))},
    ),
    "GatherElements": Row(
        "a = GatherElements<axis = 2>(h, i)", constants={"i": np.arange(576).reshape(2, 8, 6, 6) % 5}
    ),
    "GatherElements by indices that are spread": Row(
        "m = ReduceMax(x, u)\nq, k = TopK<axis = 3>(m, three)\ne = Expand(k, s1)\na = GatherElements<axis = 3>(h, e)",
        constants={"u": ints(1), "three": ints(3), "s1": ints(2, 8, 6, 3)},
    ),
    "GatherElements of channels": Row(
        "a = GatherElements<axis = 1>(h, i)", units=0, constants={"i": np.arange(576).reshape(2, 8, 6, 6) % 8}
    ),
    "ScatterND of channels": Row(
        "t = Transpose<perm = [1, 0, 2, 3]>(h)\np = Slice(t, zero_, e, zero_, two_)\nq = Neg(p)\n"
        "w = ScatterND(t, i, q)\na = Transpose<perm = [1, 0, 2, 3]>(w)",
        constants={"zero_": ints(0), "e": ints(2**62), "two_": ints(2), "i": ints(0, 2, -4, 6)[:, None]},
    ),
    "ScatterND of pixels": Row(
        "t = Transpose<perm = [2, 0, 3, 1]>(h)\np = Gather<axis = 0>(t, k)\nw = ScatterND(t, i, p)\n"
        "a = Transpose<perm = [1, 3, 0, 2]>(w)",
        constants={"k": ints(5, 4), "i": ints(1, 2)[:, None]},
    ),
    "ScatterND of entries": Row(
        "w = ScatterND(h, i, v)\na = Relu(w)", units=0, constants={"i": ints(0, 1, 2, 3)[None], "v": (1,)}
    ),
    "NonZero of a constant": Row(
        "n = NonZero(m)\nq = Reshape(n, k)\na = Gather<axis = 1>(h, q)",
        constants={"m": np.array([True, False] * 4), "k": ints(-1)},
        read=4,
    ),
    "Split": Row("p, q = Split<axis = 1>(h, z)\na = Concat<axis = 1>(q, p)", constants={"z": ints(3, 5)}),
    "Split evenly": Row("p, q = Split<axis = 1, num_outputs = 2>(h)\na = Add(p, q)", units=4, read=4),
    "Split off a fixed part": Row(
        "d = Concat<axis = 1>(x, h)\np, a = Split<axis = -3>(d, z)", constants={"z": ints(3, 8)}
    ),
    "Split 2": Row("p, q = Split<axis = 1, split = [2, 6]>(h)\na = Concat<axis = 1>(q, p)", opset=11),
    "Gather": Row("a = Gather<axis = 1>(h, i)", constants={"i": ints(7, 1, 1, -2)}, read=4),
    "Gather many": Row("a = Gather<axis = 1>(h, i)", constants={"i": np.arange(320) % 8}, read=320),
    "Gather one": Row(
        "b = Gather<axis = 1>(h, i)\na = Unsqueeze(b, u)", units=7, constants={"i": np.int64(3), "u": ints(1)}, read=1
    ),
    "Gather in rows": Row(
        "b = Gather<axis = 1>(h, i)\na = ReduceMax<keepdims = 0>(b, u)",
        units=4,
        constants={"i": np.arange(8).reshape(4, 2), "u": ints(2)},
        read=4,
    ),
    "Gather in columns": Row(
        "b = Gather<axis = 1>(h, i)\na = ReduceMax<keepdims = 0>(b, u)",
        units=3 + 2,
        constants={"i": np.array([[0, 1, -3], [3, 4, 6]]), "u": ints(1)},
        read=3,
    ),
    "Gather by what channels hold": Row(
        "i = Cast<to = 7>(h)\nb = Gather(v, i)\na = Cast<to = 1>(b)", units=0, constants={"v": ints(5, 3)}
    ),
    "GatherND by what channels hold": Row(
        "i = Cast<to = 7>(h)\nj = Unsqueeze(i, u)\nb = GatherND(v, j)\na = Cast<to = 1>(b)",
        units=0,
        constants={"v": ints(5, 3), "u": ints(4)},
    ),
    "GatherND": Row(
        "t = Transpose<perm = [2, 3, 0, 1]>(h)\nb = GatherND(t, i)\na = Transpose<perm = [2, 3, 0, 1]>(b)",
        constants={"i": np.array([[[0, 1], [5, 2]], [[3, 3], [1, 0]], [[2, 4], [4, 4]]], np.int64)},
    ),
    **{
        f"Gather of a table that is {name}": Row(
            f"{body}\ne = Gather(d, k)\nf = Transpose<perm = [0, 2, 1]>(e)\ng = Unsqueeze(f, u)\na = Add(h, g)",
            constants={"k": np.arange(12).reshape(2, 6) % 5, "u": ints(3)} | constants,
        )
        for name, (body, constants) in TABLES.items()
    },
    "GatherND of a quantised table": Row(
        "d = DequantizeLinear<axis = 1>(w, q, z)\ne = GatherND(d, i)\nf = Unsqueeze(e, u)\na = Add(h, f)",
        constants={"i": np.array([[4], [1]]), "u": ints(2, 3)} | TABLES["quantised"][1],
    ),
    "GatherND of samples": Row(
        "b = GatherND<batch_dims = 1>(h, i)\na = Unsqueeze(b, u)",
        units=0,
        constants={"i": np.array([[[1], [6]], [[7], [0]]], np.int64), "u": ints(4)},
        read=2,
    ),
}
