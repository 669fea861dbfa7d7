"""Constants of one entry a channel that exporters stored once: layers that read them stay apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune, verify, verify_reading
from onnxprune.graph import load

RNG = np.random.default_rng(0)
CONSTANTS = {
    "w": (8, 3, 1, 1),
    "v": (8, 8, 1, 1),
    "last": (5, 8, 1, 1),
    "wq": RNG.integers(-100, 100, (8, 3, 1, 1)).astype(np.int8),
    "vq": RNG.integers(-100, 100, (8, 8, 1, 1)).astype(np.int8),
    "ws": np.linspace(0.01, 0.02, 8, dtype=np.float32),
    "vs": np.linspace(0.02, 0.01, 8, dtype=np.float32),
    "zero": np.zeros(8, np.int8),
    "number": np.float32(0.1),
    "biases": np.arange(8, dtype=np.int32),
    "half": np.linspace(0.1, 0.8, 8).astype(np.float16),
    "each": np.linspace(0.1, 0.8, 8, dtype=np.float32),
    "behind": np.array([1, 2]),
}
# From `x` to `h`, 8 channels each of a first and a second convolution.
BODIES = {
    "zero point": """
        p = DequantizeLinear<axis = 0>(wq, ws, zero)
        a = Conv(x, p)
        r = Relu(a)
        q = DequantizeLinear<axis = 0>(vq, vs, zero)
        h = Conv(r, q)""",
    "dequantised bias": """
        b = DequantizeLinear(biases, number)
        a = Conv(x, w, b)
        r = Relu(a)
        h = Conv(r, v, b)""",
    "bias of layers whose weights are dequantised": """
        p = DequantizeLinear<axis = 0>(wq, ws)
        a = Conv(x, p, each)
        r = Relu(a)
        q = DequantizeLinear<axis = 0>(vq, vs)
        h = Conv(r, q, each)""",
    "zero point of activations": """
        a = Conv(x, w)
        p = QuantizeLinear<axis = 1>(a, ws, zero)
        r = DequantizeLinear<axis = 1>(p, ws, zero)
        c = Conv(r, v)
        q = QuantizeLinear<axis = 1>(c, vs, zero)
        h = DequantizeLinear<axis = 1>(q, vs, zero)""",
    "constant behind an Unsqueeze": """
        e = Unsqueeze(each, behind)
        a = Conv(x, w)
        r = Add(e, a)
        c = Conv(r, v)
        h = Add(e, c)""",
    "constant behind a Cast and an Unsqueeze": """
        f = Cast<to = 1>(half)
        e = Unsqueeze(f, behind)
        a = Conv(x, w, f)
        r = Mul(a, e)
        c = Conv(r, v)
        h = Mul(c, e)""",
}


def loaded(body: str, folder: Path) -> ir.Model:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x) => (float[2, 5, 4, 4] y) {{
            {body}
            y = Conv(h, last)
        }}""")
    for name, value in CONSTANTS.items():
        array = RNG.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else np.asarray(value)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, folder / "net.onnx")
    return load(folder / "net.onnx")


@pytest.mark.parametrize("name", BODIES)
def test_layers_with_weights_of_their_own_are_apart(name: str, tmp_path: Path) -> None:
    model = loaded(BODIES[name], tmp_path)
    assert verify_reading(tmp_path / "net.onnx", model)
    channels = analyse(model)
    assert [(group.size, len(group.producers)) for group in channels.groups] == [(8, 1), (8, 1)]
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[0].units[:3]] = keep[channels.groups[1].units[4:]] = False
    verify(model, channels, keep, prune(model, channels, keep))


def test_layers_that_share_their_weight_share_their_bias(tmp_path: Path) -> None:
    body = """
        b = DequantizeLinear(biases, number)
        c = Conv(x, w)
        a = Conv(c, v, b)
        h = Conv(a, v, b)"""
    model = loaded(body, tmp_path)
    assert sum(node.op_type == "DequantizeLinear" for node in model.graph) == 1
