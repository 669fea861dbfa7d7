"""Networks that give the names of classes: texts are no weights, and stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxprune import inspect_model, prune
from onnxprune.latency import predictor

NAMES = ["cat", "dog", "newt"]
WEIGHTS = {"w": (6, 16), "u": (16, 3)}


def write(body: str, path: Path) -> Path:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 6] x) => (string[n] named) {{
            {body}
            h = MatMul(x, w)
            r = Relu(h)
            y = MatMul(r, u)
            best = ArgMax<axis = 1, keepdims = 0>(y)
            named = Gather(names, best)
        }}""")
    rng = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    if not body:
        texts = [name.encode() for name in NAMES]
        proto.graph.initializer.append(onnx.helper.make_tensor("names", onnx.TensorProto.STRING, [3], texts))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("body", ["", 'names = Constant<value_strings = ["cat", "dog", "newt"]>()'])
def test_a_classifier_that_names_classes_is_pruned(body: str, tmp_path: Path) -> None:
    path, output = write(body, tmp_path / "model.onnx"), tmp_path / "pruned.onnx"
    assert inspect_model(path).cost.parameters == 6 * 16 + 16 * 3
    prune(path, output=output, ratio=0.5)
    inspected = inspect_model(output)
    assert inspected.cost.parameters == (6 * 16 + 16 * 3) // 2
    assert inspected.cost.weight_bytes == 4 * inspected.cost.parameters + len("".join(NAMES))
    assert inspected.file_bytes == output.stat().st_size < path.stat().st_size
    x = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32)
    (named,) = predictor(output)((x,))
    assert set(named) <= set(NAMES)
