"""ONNX in and out: load and check a file, bring it into one normal form, know its shapes and costs, save it whole.

Everything above works on `onnx_ir.Model`; only this package sees ONNX files and protobufs. A loaded model has its
constants as initializers, its static shape arithmetic folded, unique value names and inferred shapes, while its
inputs, outputs, opset, IR version, metadata and dynamic axes are those of the file.
"""

from onnxprune.graph.any_batch import for_any_batch
from onnxprune.graph.cost import GraphCost, NodeCost, graph_cost
from onnxprune.graph.formats import HALVES, element_types, in_float32
from onnxprune.graph.inputs import (
    InputSpec,
    input_specs,
    output_names,
    random_inputs,
    resolve_input_shapes,
    samples_of,
    shown_sizes,
)
from onnxprune.graph.load import external_files, load, read_unchanged, release_weights
from onnxprune.graph.macs import mac_terms
from onnxprune.graph.quantised import (
    CONTRACTIONS,
    is_quantised,
    limits_of,
    origin_of,
    quantised_by,
    quantised_type,
    reads_quantised,
    real_values,
    spread,
    store_real_values,
)
from onnxprune.graph.rounding import without_rounding
from onnxprune.graph.save import (
    check_writable,
    inlined,
    is_device,
    overhead_bytes,
    path_kind,
    save,
    save_beside,
    to_bytes,
    write_atomically,
    write_text,
)
from onnxprune.graph.shape_values import add_initializer
from onnxprune.graph.shapes import concrete_shapes, infer_shapes
from onnxprune.graph.source import is_large, session_source
from onnxprune.graph.twin import Twin, twin_of

__all__ = [
    "CONTRACTIONS",
    "HALVES",
    "GraphCost",
    "InputSpec",
    "NodeCost",
    "Twin",
    "add_initializer",
    "check_writable",
    "concrete_shapes",
    "element_types",
    "external_files",
    "for_any_batch",
    "graph_cost",
    "in_float32",
    "infer_shapes",
    "inlined",
    "input_specs",
    "is_device",
    "is_large",
    "is_quantised",
    "limits_of",
    "load",
    "mac_terms",
    "origin_of",
    "output_names",
    "overhead_bytes",
    "path_kind",
    "quantised_by",
    "quantised_type",
    "random_inputs",
    "read_unchanged",
    "reads_quantised",
    "real_values",
    "release_weights",
    "resolve_input_shapes",
    "samples_of",
    "save",
    "save_beside",
    "session_source",
    "shown_sizes",
    "spread",
    "store_real_values",
    "to_bytes",
    "twin_of",
    "without_rounding",
    "write_atomically",
    "write_text",
]
