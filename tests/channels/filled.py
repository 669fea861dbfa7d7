"""Graphs with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxprune.graph import load


def filled(
    model: onnx.ModelProto, weights: dict[str, tuple[int, ...]], sizes: dict[str, list[int]], folder: Path
) -> ir.Model:
    """Load a graph with random weights of some shapes, and lists of sizes."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    arrays |= {name: np.array(size) for name, size in sizes.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(model, folder / "model.onnx")
    return load(folder / "model.onnx")
