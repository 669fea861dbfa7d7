"""Models for the bridge's tests, from ONNX text or of one operator, and their comparison with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import defs, helper, numpy_helper

from onnxprune.torch_bridge import compare, to_torch

HEADER = '<ir_version: 10, opset_import: ["" : {opset}]>'


def parse(body: str, opset: int = 17, **weights: np.ndarray) -> ir.Model:
    """Build a model from ONNX text; `weights` become initializers."""
    model = ir.from_onnx_text(HEADER.format(opset=opset) + body)
    for name, array in weights.items():
        value = next(v for n in model.graph for v in n.inputs if v is not None and v.name == name)
        value.const_value = ir.tensor(array, name=name)
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(value.const_value.dtype)
        model.graph.register_initializer(value)
        if value in model.graph.inputs:
            model.graph.inputs.remove(value)
    return model


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A node to test.

    Attributes:
        inputs: What the node reads: an array (fed), a list or number (an initializer), or None (left out).
        attributes: The node's attributes.
        outputs: How many outputs are used.
        tolerance: The relative difference allowed.
    """

    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    tolerance: float = 1e-5


def single(op_type: str, opset: int, case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Build a model of one node, and the arrays to feed it."""
    names, feeds, initializers = [], {}, []
    for index, value in enumerate(case.inputs):
        names.append("" if value is None else f"x{index}")
        if isinstance(value, np.ndarray):
            feeds[names[-1]] = value
        elif value is not None:
            kind = np.float32 if _is_float(value) else np.int64
            initializers.append(numpy_helper.from_array(np.array(value, dtype=kind), names[-1]))
    outputs = [f"y{index}" for index in range(case.outputs)]
    node = helper.make_node(op_type, names, outputs, name="node", **case.attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        initializers,
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, ir_version=min(10, 13), opset_imports=opsets)
    model = onnx.shape_inference.infer_shapes(model)
    return model, feeds


def _is_float(value: Any) -> bool:
    return _is_float(value[0]) if isinstance(value, list) and value else isinstance(value, float)


def relative_difference(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> float:
    """Convert a model and compare it with onnxruntime."""
    loaded = ir.serde.deserialize_model(model)
    return compare(to_torch(loaded), loaded, feeds).relative


def opsets_of(op_type: str, newest: int = 22) -> list[int]:
    """Return one opset for each version of an operator between opset 7 and `newest`."""
    versions = {schema.since_version for schema in defs.get_all_schemas_with_history() if schema.name == op_type}
    before = [version for version in versions if version <= 7]
    return sorted({7 for _ in before} | {version for version in versions if 7 < version <= newest})
