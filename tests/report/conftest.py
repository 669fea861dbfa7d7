from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

_WEIGHTS = {"w1": (16, 3, 3, 3), "w2": (24, 16, 3, 3), "w3": (24, 1, 3, 3), "w4": (10, 24)}


def small_cnn(batch: str = "N", size: str = "8") -> onnx.ModelProto:
    """Conv, Conv, depthwise Conv, pooling, Gemm: two groups of channels and a fixed output."""
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[{batch}, 3, {size}, {size}] image) => (float[{batch}, 10] scores) {{
            [first] a = Conv <pads = [1, 1, 1, 1]> (image, w1)
            [act] b = Relu (a)
            [second] c = Conv <pads = [1, 1, 1, 1]> (b, w2)
            [depthwise] d = Conv <pads = [1, 1, 1, 1], group = 24> (c, w3)
            [pool] e = GlobalAveragePool (d)
            [flat] f = Flatten (e)
            [classifier] scores = Gemm <transB = 1> (f, w4)
        }}
    """)
    rng = np.random.default_rng(0)
    for name, shape in _WEIGHTS.items():
        weight = (0.2 * rng.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    return model


@pytest.fixture
def cnn_path(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path
