"""Networks small enough to score by hand, from ONNX text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

from onnxprune.channels import ChannelMap, analyse
from onnxprune.graph import load
from onnxprune.importance import score_units

HEADER = '<ir_version: 10, opset_import: ["" : 17]>'

TWO_LAYERS = """
agraph (float[n, 1, 3, 3] x) => (float[n, 2] y) {
    a = Conv<kernel_shape = [1, 1]>(x, w1)
    r = Relu(a)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    y = Gemm<transB = 1>(f, w2)
}"""


@dataclass(frozen=True)
class Batch:
    inputs: tuple[np.ndarray, ...]
    labels: np.ndarray | None = None


def build(folder, text: str, **weights: np.ndarray) -> tuple[ir.Model, ChannelMap]:
    """Load a model written as text, with its weights, and analyse it."""
    model = parser.parse_model(HEADER + text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    path = folder / "model.onnx"
    onnx.save(model, path)
    loaded = load(path)
    return loaded, analyse(loaded)


def two_layers(folder, w1: list[float], w2: list[list[float]]) -> tuple[ir.Model, ChannelMap]:
    """One input channel -> 1x1 convolution -> ReLU -> mean -> linear; `w1` (C,), `w2` (2, C)."""
    return build(
        folder,
        TWO_LAYERS,
        w1=np.array(w1, dtype=np.float32).reshape(-1, 1, 1, 1),
        w2=np.array(w2, dtype=np.float32),
    )


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_channel(name: str, model: ir.Model, channels: ChannelMap, weight: str, **options) -> np.ndarray:
    """Return the scores of the units on axis 0 of a weight, in its order."""
    units = channels.axis(weight, 0)
    assert units is not None
    assert (units >= 0).all()
    return score_units(name, model, channels, **options)[units]
