"""Operators of onnxruntime's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxprune.graph import load, save

TWICE = """<ir_version: 7, opset_import: ["": {opset}, "com.microsoft": 1]>
    net ({real}[N, 4] x) => ({real}[N, 4] y) {{
        q = com.microsoft.QuantizeLinear{axis}(x, scale{zero})
        y = com.microsoft.DequantizeLinear{axis}(q, scale{zero})
    }}"""
# What ONNX has since when: an axis, one scale that is no scalar, and scales in half precision.
BYTES = {
    "a scalar": (10, {}, ""),
    "no zero point": (10, {"zero": ""}, ""),
    "a scalar with an axis": (10, {"axis": "<axis = 1>"}, ""),
    "one of an axis, early": (12, {"entries": "[1]"}, "com.microsoft"),
    "one of an axis": (13, {"entries": "[1]"}, ""),
    "half precision, early": (17, {"real": "float16"}, "com.microsoft"),
    "half precision": (19, {"real": "float16"}, ""),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_are_of_onnx_where_it_has_them(name: str, tmp_path: Path) -> None:
    opset, parts, domain = BYTES[name]
    parts = {"real": "float", "axis": "", "entries": "", "zero": ", zero"} | parts
    real = np.float16 if parts["real"] == "float16" else np.float32
    proto = onnx.parser.parse_model(TWICE.format(opset=opset, **parts))
    shape = (1,) if parts["entries"] else ()
    for key, array in (("scale", np.full(shape, 0.5, real)), ("zero", np.full(shape, 3, np.uint8))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert [node.domain for node in model.graph] == [domain, domain]
    x = np.arange(8).reshape(2, 4).astype(real)
    save(model, tmp_path / "ours.onnx")
    results = []
    for file in ("net.onnx", "ours.onnx"):
        session = onnxruntime.InferenceSession(tmp_path / file, providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": x})[0])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("opset", "domain"), [(17, "com.microsoft"), (21, "")])
def test_wide_integers_are_of_onnx_where_it_has_them(opset: int, domain: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1]>
        net (float[N, 4] x) => (float[N, 4] y) <float scale = {{0.5}}, int16 zero = {{0}}> {{
            q = com.microsoft.QuantizeLinear(x, scale, zero)
            y = com.microsoft.DequantizeLinear(q, scale, zero)
        }}""")
    onnx.save(model, tmp_path / "net.onnx")
    assert [node.domain for node in load(tmp_path / "net.onnx").graph] == [domain, domain]


def test_onnxruntime_needs_no_import_of_its_operators(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        net (float[N, 4] x) => (float[N, 4] y) { y = com.microsoft.QuickGelu(x) }""")
    del model.opset_import[1]
    onnx.save(model, tmp_path / "net.onnx")
    save(load(tmp_path / "net.onnx"), tmp_path / "again.onnx")
    assert {each.domain: each.version for each in onnx.load(tmp_path / "again.onnx").opset_import}["com.microsoft"] == 1
