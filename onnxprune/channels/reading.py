"""Prove a reading: the model that was brought into one form must compute what its file says.

The removal is proved against that form, so constants that were folded wrongly would pass unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import TopologicalSortPass

from onnxprune.channels.running import run_model, run_source
from onnxprune.channels.verification import TOLERANCE, relative_error
from onnxprune.errors import UnsupportedModelError, VerificationError
from onnxprune.graph.formats import HALVES, element_types, in_float32
from onnxprune.graph.inputs import output_names, random_inputs, resolve_input_shapes
from onnxprune.graph.load import read_unchanged

# Folded constants are rounded to half precision; a float32 copy of the file does not round them.
_TOLERANCE_IN_HALF = 1e-2


def verify_reading(
    path: Path, model: ir.Model, *, input_shapes: Mapping[str, Sequence[int]] | None = None, seed: int = 0
) -> bool:
    """Compare a model with the file it was read from, on random inputs, in onnxruntime.

    Half precision is compared in float32 copies. What onnxruntime does not run, or what gives other outputs every time,
    cannot be compared.

    Args:
        path: The file.
        model: What `load` made of it.
        input_shapes: Sizes of dynamic inputs; a dynamic batch is 2.
        seed: Seed of the inputs.

    Returns:
        Whether they could be compared.

    Raises:
        VerificationError: The outputs differ.
    """
    whole = in_float32(model)
    feeds = random_inputs(whole, resolve_input_shapes(model, input_shapes, batch=2), seed)
    names = output_names(whole)
    half = stored_half = bool(element_types(model) & HALVES)

    def run() -> list[np.ndarray]:
        return run_model(_file_in_float32(path), feeds, names) if stored_half else run_source(path, feeds, names)

    try:
        wanted = run()
    except UnsupportedModelError:
        return False
    got = run_model(whole, feeds, names)
    error, output = max(zip(map(relative_error, wanted, got), names, strict=True))
    # The file is read again only where it matters.
    half = half or (error > TOLERANCE and _casts_to_half(path))
    tolerance = _TOLERANCE_IN_HALF if half else TOLERANCE
    if error <= tolerance:
        return True
    if max(map(relative_error, wanted, run())) > tolerance:
        return False
    raise VerificationError(
        f"'{path}' was read wrongly: output '{output}' differs from what the file gives by {error:.2g} (allowed "
        f"{tolerance:.0e}). This is a defect of onnxprune: nothing was written; please report the model's architecture"
    )


def _casts_to_half(path: Path) -> bool:
    """Say whether a file computes in half precision what the model may hold as constants by now."""
    nodes = read_unchanged(path).graph.all_nodes()
    return any(node.op_type == "Cast" and node.attributes.get_int("to", 0) in HALVES for node in nodes)


def _file_in_float32(path: Path) -> ir.Model:
    model = read_unchanged(path)
    # Converters to half precision put their casts anywhere.
    TopologicalSortPass()(model)
    return in_float32(model)
