"""Operators of onnxruntime's own."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxprune.graph import load, save


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
