"""ONNX in and out: load and check a file, bring it into one normal form, know its shapes and costs, save it whole.

Everything above works on `onnx_ir.Model`; only this package sees ONNX files and protobufs. A loaded model has its
constants as initializers, its static shape arithmetic folded, unique value names and inferred shapes, while its
inputs, outputs, opset, IR version, metadata and dynamic axes are those of the file.
"""

from onnxprune.graph.cost import GraphCost, NodeCost, graph_cost
from onnxprune.graph.inputs import InputSpec, input_specs, output_names, random_inputs, resolve_input_shapes
from onnxprune.graph.load import load, release_weights
from onnxprune.graph.save import overhead_bytes, save, save_beside, to_bytes, write_atomically
from onnxprune.graph.shapes import concrete_shapes, infer_shapes

__all__ = [
    "GraphCost",
    "InputSpec",
    "NodeCost",
    "concrete_shapes",
    "graph_cost",
    "infer_shapes",
    "input_specs",
    "load",
    "output_names",
    "overhead_bytes",
    "random_inputs",
    "release_weights",
    "resolve_input_shapes",
    "save",
    "save_beside",
    "to_bytes",
    "write_atomically",
]
