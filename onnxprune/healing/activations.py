"""Values inside a network on calibration samples, a few layers at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnxprune.cores import session_threads
from onnxprune.errors import OutputError, UnsupportedModelError
from onnxprune.graph import in_float32, session_source


def open_values(model: ir.Model, names: Sequence[str]) -> Callable[[tuple[np.ndarray, ...]], dict[str, np.ndarray]]:
    """Open a model such that it returns the named values instead of its outputs.

    Args:
        model: The model; it is not changed. Of a half-precision model, a float32 copy runs.
        names: Values inside it; inputs of the model are passed on.
    """
    exposed = in_float32(model).clone()
    inputs = [str(v.name) for v in exposed.graph.inputs if not v.is_initializer()]
    wanted = {name for name in names if name not in inputs}
    values = {str(v.name): v for node in exposed.graph for v in node.outputs if v.name in wanted}
    exposed.graph.outputs.clear()
    exposed.graph.outputs.extend(values[name] for name in sorted(wanted))
    run = _opened(exposed, inputs, sorted(wanted)) if wanted else None

    def values_of(samples: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        found = dict(zip(inputs, samples, strict=True))
        if run is not None:
            found |= run(samples)
        return {name: found[name] for name in names}

    return values_of


def _opened(
    model: ir.Model, inputs: Sequence[str], names: Sequence[str]
) -> Callable[[tuple[np.ndarray, ...]], dict[str, np.ndarray]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = session_threads()
    try:
        with session_source(model) as source:
            session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except OutputError:
        raise
    except Exception as error:
        raise UnsupportedModelError(f"onnxruntime cannot run the model: {error}") from error

    def run(samples: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        arrays = session.run(list(names), dict(zip(inputs, samples, strict=True)))
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}

    return run
