"""A small residual network, for tests of branches that go whole."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[n, 3, 8, 8] image) => (float[n, 10] scores) {
    [stem] a = Conv<pads = [1, 1, 1, 1]>(image, w0, b0)
    [up1] b = Conv<pads = [1, 1, 1, 1]>(a, w1, b1)
    [act1] c = Relu(b)
    [down1] d = Conv<pads = [1, 1, 1, 1]>(c, w2, b2)
    [join1] e = Add(a, d)
    [up2] f = Conv<pads = [1, 1, 1, 1]>(e, w3, b3)
    [act2] g = Relu(f)
    [down2] h = Conv<pads = [1, 1, 1, 1]>(g, w4, b4)
    [join2] i = Add(h, e)
    [pool] j = GlobalAveragePool(i)
    [flat] k = Flatten(j)
    [classifier] scores = Gemm<transB = 1>(k, w5, b5)
}
"""
SHAPES = {"w0": (8, 3, 3, 3), "w1": (16, 8, 3, 3), "w2": (8, 16, 3, 3), "w3": (16, 8, 3, 3), "w4": (8, 16, 3, 3)}


def residual_cnn(second: float = 1.0) -> onnx.ModelProto:
    """Make a stem, two residual blocks, the second one's output scaled by `second`, and a classifier."""
    model = parser.parse_model(NETWORK)
    rng = np.random.default_rng(0)
    for name, shape in {**SHAPES, "w5": (10, 8)}.items():
        weight = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) * (second if name == "w4" else 1.0)
        model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
        bias = 0.3 * rng.standard_normal(shape[0])
        model.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), f"b{name[1]}"))
    return model
