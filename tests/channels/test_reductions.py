"""Sums and norms over channels: removing channels equals the network in which their weights were set to zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from onnxprune.channels import ChannelMap, analyse, prune, verify
from onnxprune.graph import load, save

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


def network(body: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        net (float[N, 3, H, W] x) => (float[] y) {{
            c_ = Conv<pads = [1, 1, 1, 1]>(x, w, b)
            h = Relu(c_)
            {body}
        }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name, value in CONSTANTS.items():
        array = rng.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else value
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def silenced(model: onnx.ModelProto, channels: ChannelMap, keep: np.ndarray) -> onnx.ModelProto:
    """Set the rows of the convolutions' weights that bring removed channels forth to zero."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        units = channels.axis(tensor.name, 0) if tensor.name in {"w", "b", "v"} else None
        if units is not None:
            array = numpy_helper.to_array(tensor).copy()
            array[~keep[units]] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


def run(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 7)).astype(np.float32)
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("seed", range(3))
def test_removal_equals_weights_of_zero(name: str, seed: int, tmp_path: Path) -> None:
    body, units = BODIES[name]
    proto = network(body)
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert channels.unit_count == units
    keep = np.random.default_rng(seed).random(units) < 0.6
    keep[[group.units[0] for group in channels.groups]] = True
    pruned = prune(model, channels, keep)
    verify(model, channels, keep, pruned, input_shapes={"x": (2, 3, 6, 6)})
    save(pruned, tmp_path / "pruned.onnx")
    expected = run(silenced(proto, channels, keep))
    actual = run(onnx.load(tmp_path / "pruned.onnx"))
    assert not np.allclose(expected, run(proto), rtol=1e-3)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
