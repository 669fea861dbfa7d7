"""Outputs without a name are not asked for, and so are left out where they may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxprune.channels import analyse, verify_reading
from onnxprune.graph import load

STATISTICS = {"g": 0.5, "b": 0.1, "m": 0.2, "v": 2}
FUNCTION = (
    '<domain: "own", opset_import: ["": 9]> norm (a, g, b, m, v) => (r) { r = BatchNormalization(a, g, b, m, v) }'
)


def network(body: str, opset: int = 9, functions: str = "") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": {opset}, "own": 1]>
        net (float[2, 3, 4, 4] x) => (float[2, 5, 4, 4] y) {{
            a = Conv(x, w)
            {body}
            y = Conv(r, z)
        }} {functions}""")
    rng = np.random.default_rng(0)
    arrays = {name: np.full(8, value, np.float32) for name, value in STATISTICS.items()}
    arrays |= {
        name: rng.standard_normal(s).astype(np.float32) for name, s in {"w": (8, 3, 1, 1), "z": (5, 8, 1, 1)}.items()
    }
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return proto


@pytest.mark.parametrize("opset", [7, 9, 13])
@pytest.mark.parametrize("inside", [False, True])
def test_statistics_that_are_not_asked_for_are_no_training(opset: int, inside: bool, tmp_path: Path) -> None:
    call = "r = own.norm(a, g, b, m, v)" if inside else "r = BatchNormalization(a, g, b, m, v)"
    proto = network(call, opset, FUNCTION.replace('"": 9', f'"": {opset}') if inside else "")
    nodes = proto.functions[0].node if inside else proto.graph.node
    next(node for node in nodes if node.op_type == "BatchNormalization").output.extend(["", "", "", ""])
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert verify_reading(tmp_path / "net.onnx", model)
    assert analyse(model).unit_count == 8


def test_parts_without_a_name_are_parts(tmp_path: Path) -> None:
    """How large the parts of a Split are depends on how many there are."""
    proto = network("p = Split<axis = 1>(a)\nr = Concat<axis = 1>(p, p)")
    next(node for node in proto.graph.node if node.op_type == "Split").output.append("")
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    (split,) = (node for node in model.graph if node.op_type == "Split")
    assert len(split.outputs) == 2
