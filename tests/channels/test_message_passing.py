"""Networks on graphs: sums of messages over edges, as scatter_add is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.channels.zeroed import check_removal

LAYER = """
    h{0} = MatMul({1}, w{0})
    m{0} = Gather<axis = 0>(h{0}, source)
    size{0} = Shape(m{0})
    at{0} = Expand(target, size{0})
    nodes{0} = Shape(h{0})
    none{0} = ConstantOfShape(nodes{0})
    s{0} = ScatterElements<axis = 0, reduction = "{2}">(none{0}, at{0}, m{0})
    a{0} = Relu(s{0})
"""


@pytest.mark.parametrize("reduction", ["add", "max"])
def test_hidden_channels_of_messages_go(tmp_path: Path, reduction: str) -> None:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 18]>
        net (float[N, 6] x) => (float[N, 3] y) {{
            {LAYER.format(1, "x", reduction)}
            {LAYER.format(2, "a1", reduction)}
            y = MatMul(a2, w3)
        }}""")
    rng = np.random.default_rng(0)
    arrays = {
        "w1": rng.standard_normal((6, 16)).astype(np.float32),
        "w2": rng.standard_normal((16, 12)).astype(np.float32),
        "w3": rng.standard_normal((12, 3)).astype(np.float32),
        "source": np.arange(9) % 5,
        "target": (np.arange(9) * 3 % 5).reshape(9, 1),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    x = rng.standard_normal((5, 6)).astype(np.float32)
    check_removal(proto, {"w1": 1, "w2": 1}, x, units=28, folder=tmp_path, seed=0)
