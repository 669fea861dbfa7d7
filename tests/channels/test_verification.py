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
