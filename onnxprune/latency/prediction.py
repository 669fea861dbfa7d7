"""Run a model for its outputs, as accuracy and agreement are measured on what is delivered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import onnx_ir as ir

from onnxprune.cores import session_threads
from onnxprune.errors import DeviceError, OutputError
from onnxprune.graph import session_source
from onnxprune.latency.device import ModelSource

_ERRORS_ONLY = 3


Outputs = Callable[[tuple[np.ndarray, ...]], list[np.ndarray]]
"""From a model's inputs to its outputs."""


def predictor(source: ModelSource | ir.Model, threads: int = 0) -> Outputs:
    """Open a model on the CPU and return a function from inputs to outputs, both in the model's order.

    Inputs of half precision are given as float32, and outputs come back so.

    Args:
        source: File, bytes, or a model in memory.
        threads: Threads inside an operator; 0: one for each core that this process may use.

    Raises:
        DeviceError: onnxruntime cannot load the model.
        OutputError: There is no room for the temporary file of a large model in memory.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or session_threads()
    try:
        with session_source(source) if isinstance(source, ir.Model) else nullcontext(source) as opened:
            session = ort.InferenceSession(opened, options, providers=["CPUExecutionProvider"])
    except OutputError:
        raise
    except Exception as error:
        raise DeviceError(f"onnxruntime cannot load the model: {error}") from error
    names = [value.name for value in session.get_inputs()]
    halves = [value.type == "tensor(float16)" for value in session.get_inputs()]

    def run(inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        try:
            fed = [array.astype(np.float16) if half else array for array, half in zip(inputs, halves, strict=True)]
            outputs = session.run(None, dict(zip(names, fed, strict=True)))
        except Exception as error:
            raise DeviceError(f"onnxruntime cannot run the model: {error}") from error
        arrays = [np.asarray(output) for output in outputs]
        return [a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays]

    return run
