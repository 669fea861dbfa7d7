"""Networks that were exported for one batch size, and whether their modules run others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxprune.graph import load
from onnxprune.torch_bridge import runs_any_batch


@pytest.mark.parametrize(
    ("more", "outputs", "runs"),
    [
        ("", "", True),
        ("mean = ReduceMean <keepdims = 0> (y)", ", float mean", True),
        ("none = Slice (y, zero, zero, one)", ", float[1, 0] none", True),
        ("flat = Reshape (y, all)", ", float[3, 2] flat", True),
        ("ends = Softmax <axis = 0> (y)", ", float[1, 6] ends", False),
    ],
)
def test_outputs_that_hold_no_samples_are_no_hindrance(tmp_path, more, outputs, runs):
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 4] x) => (float[1, 6] y{outputs}) {{ y = MatMul (x, w) {more} }}"""
    )
    arrays = {
        "w": np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32),
        **{name: np.array([value]) for name, value in (("zero", 0), ("one", 1))},
        "all": np.array([-1, 2]),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(model, tmp_path / "net.onnx")
    assert runs_any_batch(load(tmp_path / "net.onnx"), 1) == runs
