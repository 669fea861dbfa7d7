"""Verification notices wrong removals where the outputs hide them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import analyse, prune, verify
from onnxprune.errors import VerificationError
from onnxprune.graph import load
from tests.channels.operator_table import Row, build


@pytest.mark.parametrize("saturating", ["Sigmoid", "Softmax"])
def test_a_saturated_output_hides_nothing(saturating: str, tmp_path: Path) -> None:
    scale = {"k": np.float32(1e6), "w": (1, 8, 1, 1), "b": np.full(1, -1e9, np.float32)}
    onnx.save(
        build(Row(f"a = Mul(h, k)\nz = Conv(a, w, b)\ny = {saturating}(z)", constants=scale)), tmp_path / "m.onnx"
    )
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    keep[0] = other[1] = False
    assert verify(model, channels, keep, prune(model, channels, keep)).passed
    with pytest.raises(VerificationError, match="differs from the silenced original"):
        verify(model, channels, keep, prune(model, channels, other))


# Noise that is the same for all channels, and the opset in which the operator is.
NOISE = {
    "RandomNormal": ("n = RandomNormal<shape = [2, 1, 6, 6]>()", 13),
    "RandomUniform": ("n = RandomUniform<shape = [2, 1, 6, 6]>()", 13),
    "RandomNormalLike": ("m = ReduceMax<axes = [1]>(x)\nn = RandomNormalLike(m)", 13),
    "RandomUniformLike": ("m = ReduceMax<axes = [1]>(x)\nn = RandomUniformLike(m)", 13),
    "Bernoulli": ("m = ReduceMax<axes = [1]>(x)\np = Sigmoid(m)\nn = Bernoulli(p)", 15),
    "Multinomial": (
        "f = Flatten(x)\ni = Multinomial<sample_size = 36>(f)\nj = Cast<to = 1>(i)\nn = Reshape(j, box)",
        13,
    ),
    "Dropout": ("m = ReduceMax<axes = [1]>(x)\nn = Dropout(m, half, yes)", 13),
}


@pytest.mark.parametrize("name", NOISE)
def test_random_numbers_are_the_same_ones_in_both(name: str, tmp_path: Path) -> None:
    body, opset = NOISE[name]
    constants = {"box": np.array([2, 1, 6, 6]), "yes": np.bool_(True), "w": (8, 8, 1, 1)}
    # onnxruntime's own seeds depend on how many nodes stand before, which a contraction's mask is one of.
    row = Row(f"b = Conv(h, w)\n{body}\na = Add(b, n)", constants=constants, opset=opset)
    onnx.save(build(row), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    assert channels.unit_count == 8 + 8
    keep = np.arange(16) % 3 > 0
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned).passed
    assert not any("seed" in node.attributes for graph in (model, pruned) for node in graph.graph)
    with pytest.raises(VerificationError, match="differs from the silenced original"):
        verify(model, channels, keep, prune(model, channels, np.roll(keep, 1)))
