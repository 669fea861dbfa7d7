"""Does the module compute what onnxruntime computes from the ONNX file?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from onnxprune.cores import session_threads
from onnxprune.graph import session_source
from onnxprune.torch_bridge.module import OnnxModule

# Outputs below this are noise of float32: onnxruntime's sigmoid, for one, is off by 1e-7 everywhere.
_SMALLEST_SCALE = 1e-2


@dataclass(frozen=True)
class Comparison:
    """How far a module's outputs are from onnxruntime's.

    Attributes:
        max_abs: The largest absolute difference over all outputs.
        relative: For each output, its largest difference over its largest magnitude, or over 0.01 where that
            is smaller; of these, the largest. Infinite where shapes differ, or only one of the two is finite.
    """

    max_abs: float
    relative: float


def compare(module: OnnxModule, model: ir.Model, feeds: Mapping[str, np.ndarray]) -> Comparison:
    """Run both on the same inputs, the module in eval mode and in full precision.

    Args:
        module: A converted module; its mode is restored afterwards.
        model: The model to compare it with, usually `write_weights(module, model)`.
        feeds: An array for each input.
    """
    expected = _run_onnx(model, feeds)
    actual = _run_torch(module, feeds)
    pairs = [_difference(e, a) for e, a in zip(expected, actual, strict=True)]
    return Comparison(max(p[0] for p in pairs), max(p[1] for p in pairs))


def _run_onnx(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime

    runtime: Any = onnxruntime
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = session_threads()
    with session_source(model) as source:
        session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run([value.name for value in model.graph.outputs], dict(feeds))
    return outputs


def _run_torch(module: OnnxModule, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    inputs = [torch.from_numpy(np.array(feeds[name])).to(device) for name in module.input_names]
    was_training = module.training
    try:
        with torch.inference_mode():
            outputs = module.eval()(*inputs)
    finally:
        module.train(was_training)
    return [_numpy(output) for output in outputs]


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    # An output may be a weight itself.
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _difference(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float]:
    if expected.shape != actual.shape:
        return float("inf"), float("inf")
    if expected.size == 0:
        return 0.0, 0.0
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where((e == a) | (np.isnan(e) & np.isnan(a)), 0.0, np.abs(e - a))
    max_abs = float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max())
    finite = np.abs(e[np.isfinite(e)])
    scale = float(finite.max()) if finite.size else 1.0
    return max_abs, max_abs / max(scale, _SMALLEST_SCALE)
