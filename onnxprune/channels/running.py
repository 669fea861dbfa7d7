"""Run models once, in onnxruntime, to compare what they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxprune.cores import session_threads
from onnxprune.errors import UnsupportedModelError
from onnxprune.graph.inputs import output_names
from onnxprune.graph.source import session_source


def run_model(model: ir.Model, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Run a model and return the named values, whether they are outputs or not.

    Raises:
        UnsupportedModelError: onnxruntime does not run it.
    """
    with session_source(_with_outputs(model, names)) as source:
        return run_source(source, feeds, names)


def run_source(source: Path | bytes, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Run a file, or the bytes of one, and return the named outputs.

    Raises:
        UnsupportedModelError: onnxruntime does not run it.
    """
    try:
        return _run_at(source, feeds, names, "ORT_ENABLE_BASIC")
    except Exception:
        # Some of onnxruntime's rewrites break models that it runs as they are.
        try:
            return _run_at(source, feeds, names, "ORT_DISABLE_ALL")
        except Exception as error:
            raise UnsupportedModelError(f"onnxruntime cannot run the model: {error}") from error


def _run_at(
    source: Path | bytes, feeds: Mapping[str, np.ndarray], names: Sequence[str], level: str
) -> list[np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = session_threads()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    # Packed copies of the weights would double the memory, for a single run.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(list(names), dict(feeds))]


def _with_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    if set(names) == set(output_names(model)):
        return model
    exposed = model.clone()
    exposed.graph.outputs.extend(
        value for node in exposed.graph for value in node.outputs if value.name in names and not value.is_graph_output()
    )
    return exposed
