"""Models whose sizes do not fit each other: the error says at which node, and which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import analyse
from onnxprune.errors import ModelError
from onnxprune.graph import load

SHAPES = {"w": (6, 3, 1, 1), "four": (5, 4, 1, 1), "one": (8, 1, 1, 1), "t": (4,), "m": (4, 5)}
# From `h`, 6 channels, to `y`, and what is said of it.
BODIES = {
    "weight": ("y = Conv(h, four)", "6 channels meet 4 at Conv 'last'"),
    "width of groups": ("y = Conv<group = 2>(h, four)", "5 channels are to be 2 groups at Conv 'last'"),
    "groups": ("y = Conv<group = 4>(h, one)", "6 channels are to be 4 groups at Conv 'last'"),
    "groups of a transposed one": (
        "y = ConvTranspose<group = 4>(h, w)",
        "6 channels are to be 4 groups at ConvTranspose 'last'",
    ),
    "statistics": ("y = BatchNormalization(h, t, t, t, t)", "6 channels meet 4 at BatchNormalization 'last'"),
    "matrix": ("p = Transpose<perm = [0, 2, 3, 1]>(h)\ny = MatMul(p, m)", "6 channels meet 4 at MatMul 'last'"),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_node_is_named(name: str, tmp_path: Path) -> None:
    body, message = BODIES[name]
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x) => (float[a, b, c, d] y) {{
            h = Conv(x, w)
            {body}
        }}""")
    proto.graph.node[-1].name = "last"
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in SHAPES.items()
    )
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=message):
        analyse(load(tmp_path / "net.onnx"))
