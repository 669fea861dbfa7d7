"""What can go whole and what cannot, on graphs made to be awkward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import ChannelMap, analyse, find_branches, prune, verify
from onnxprune.graph import load

HEAD = "g = GlobalAveragePool(s)\nf = Flatten(g)\ny = Gemm<transB = 1>(f, wy)"
NORM = "BatchNormalization({}, ng, nb, nm, nv)"
CASES = {
    "a BatchNormalization behind the branch": (f"c = Conv(b, wb)\nd = {NORM.format('c')}\ns = Add(a, d)", 1),
    "one behind an activation": (f"c = Conv(b, wb, bb)\nr = Relu(c)\nd = {NORM.format('r')}\ns = Add(a, d)", 0),
    "one in training": (
        "c = Conv(b, wb)\nd, e, k = BatchNormalization<training_mode = 1>(c, ng, nb, nm, nv)\ns = Add(a, d)",
        0,
    ),
    "an activation behind it": ("c = Conv(b, wb, bb)\nr = Sigmoid(c)\ns = Add(r, a)", 1),
    "two branches of one sum": ("c = Conv(b, wb, bb)\nk = Conv(a, wk)\nd = Conv(k, wd, bd)\ns = Add(c, d)", 1),
    "a product instead of a sum": ("c = Conv(b, wb, bb)\ns = Mul(a, c)", 0),
    "a sum that spreads": ("c = Conv(b, wb, bb)\np = GlobalAveragePool(a)\ns = Add(p, c)", 0),
    "a layer inside whose channels are fixed": (
        "e = Conv(a, we)\nk = Softmax<axis = 1>(e)\nm = Conv(k, wk8)\nn = Relu(m)\nc = Conv(n, wd, bd)\ns = Add(a, c)",
        1,
    ),
}
WEIGHTS = {
    **{"w": (8, 3, 1, 1), "wa": (6, 8, 1, 1), "wb": (8, 6, 1, 1), "bb": (8,), "wk": (4, 8, 1, 1), "wd": (8, 4, 1, 1)},
    **{
        "bd": (8,),
        "we": (8, 8, 1, 1),
        "wk8": (4, 8, 1, 1),
        "ng": (8,),
        "nb": (8,),
        "nm": (8,),
        "nv": (8,),
        "wy": (5, 8),
    },
}


def network(body: str, folder: Path) -> tuple[ir.Model, ChannelMap]:
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, 4, 4] x) => (float[n, 5] y) {{
            a = Conv(x, w)
            u = Conv(a, wa)
            b = Relu(u)
            {body}
            {HEAD}
        }}"""
    )
    rng = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        array = rng.uniform(0.5, 1.5, shape) if name == "nv" else rng.standard_normal(shape)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(proto, folder / "net.onnx")
    model = load(folder / "net.onnx")
    return model, analyse(model)


@pytest.mark.parametrize("name", CASES)
def test_what_can_go_goes_rightly(name: str, tmp_path: Path) -> None:
    body, count = CASES[name]
    model, channels = network(body, tmp_path)
    branches = find_branches(model, channels)
    assert len(branches) == count
    for branch in branches.values():
        keep = np.random.default_rng(0).random(channels.unit_count) < 0.7
        for group in channels.groups:
            keep[group.units[0]] = True
        for index in branch.groups:
            keep[channels.groups[index].units] = False
        verify(model, channels, keep, prune(model, channels, keep))


@pytest.mark.parametrize("behind", ["d = Identity(c)", "d = BatchNormalization(c, g, h, m, q)"])
@pytest.mark.parametrize(
    ("shape", "count"), [((), 1), ((1,), 1), ((8,), 1), ((1, 8), 1), ((1, 1), 1), ((3, 8), 0), ((3, 1), 0)]
)
def test_a_bias_may_have_a_row_for_each_sample(shape: tuple[int, ...], count: int, behind: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[3, 4] x) => (float[3, 5] y) {{
            a = Gemm(x, w)
            b = Gemm(a, v)
            r = Relu(b)
            c = Gemm(r, u, k)
            {behind}
            s = Add(a, d)
            y = Gemm(s, z)
        }}""")
    rng = np.random.default_rng(0)
    sizes = {"w": (4, 8), "v": (8, 6), "u": (6, 8), "z": (8, 5), "k": shape} | dict.fromkeys("ghmq", (8,))
    for name, size in sizes.items():
        array = np.asarray(rng.uniform(0.5, 1.5, size), np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    branches = find_branches(model, channels)
    assert len(branches) == count
    for index in branches:
        keep = np.arange(channels.unit_count) % 3 > 0
        keep[channels.groups[index].units] = False
        verify(model, channels, keep, prune(model, channels, keep))


def test_a_value_that_a_subgraph_reads_keeps_its_branch(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, 4, 4] x, bool q) => (float[n, 8, 4, 4] y) {
            a = Conv(x, w)
            b = Conv(a, wa)
            c = Conv(b, wb)
            s = Add(a, c)
            y = If (q) <
                then_branch = t () => (float[n, 8, 4, 4] o) { o = Conv(b, wb) },
                else_branch = e () => (float[n, 8, 4, 4] p) { p = Identity(s) }
            >
        }""")
    rng = np.random.default_rng(0)
    for name in ("w", "wa", "wb"):
        array = rng.standard_normal(WEIGHTS[name]).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert find_branches(model, analyse(model)) == {}


# From `x`, 3 channels, to `s`, with the weights.
PARTS = {
    "parts of what several groups make": (
        """
            a = Conv(x, w)
            g = Gather<axis = 1>(a, at)
            p, q = Split<axis = 1>(g, parts)
            r = Conv(q, v)
            s = Concat<axis = 1>(r, p)""",
        {"w": (5, 3, 1, 1), "v": (3, 3, 1, 1), "z": (8, 5)},
    ),
    "what reads several groups may go with them": (
        """
            a = Conv(x, w)
            p = Pad(a, more)
            c = Conv<group = 2>(p, v)
            t = Transpose<perm = [0, 2, 3, 1]>(c)
            d = MatMul(t, k)
            s = Transpose<perm = [0, 3, 1, 2]>(d)""",
        {"w": (3, 3, 1, 1), "v": (2, 2, 1, 1), "k": (2, 8), "z": (11, 5)},
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_branches_that_share_an_axis_go_in_any_combination(name: str, tmp_path: Path) -> None:
    body, weights = PARTS[name]
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, 4, 4] x) => (float[n, 5] y)
            <int64[5] at = {{0, 1, 0, 0, 2}}, int64[2] parts = {{2, 3}}, int64[8] more = {{0, 0, 0, 0, 0, 1, 0, 0}}> {{
            {body}
            u = Concat<axis = 1>(s, x)
            m = GlobalAveragePool(u)
            f = Flatten(m)
            y = Gemm(f, z)
        }}""")
    rng = np.random.default_rng(0)
    for weight, size in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(size).astype("f"), weight))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    branches = list(find_branches(model, channels).values())
    assert len(branches) > 1
    for chosen in range(1, 2 ** len(branches)):
        keep = np.ones(channels.unit_count, dtype=bool)
        for number, branch in enumerate(branches):
            if chosen >> number & 1:
                keep[np.concatenate([channels.groups[index].units for index in branch.groups])] = False
        verify(model, channels, keep, prune(model, channels, keep))


@pytest.mark.parametrize("bias", ["", ", k"])
def test_a_gemm_of_a_weight_on_the_left_keeps_its_branch(bias: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[4, 3] x) => (float[5, 3] y) {{
            a = Gemm(w, x)
            b = Gemm(v, a)
            r = Relu(b)
            c = Gemm(u, r{bias})
            s = Add(a, c)
            y = Gemm(z, s)
        }}""")
    for name, size in {"w": (8, 4), "v": (6, 8), "u": (8, 6), "z": (5, 8), "k": (1, 3)}.items():
        array = np.random.default_rng(0).standard_normal(size).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert channels.unit_count == 8 + 6
    assert find_branches(model, channels) == {}
