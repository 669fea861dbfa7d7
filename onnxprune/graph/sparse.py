"""Sparse initializers and constants made dense: onnx_ir does not read them, and channels are cut from dense weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from onnxprune.graph.messages import all_graphs, all_nodes


def make_dense(model: onnx.ModelProto) -> None:
    """Turn the sparse initializers and constants of a model, in place, into plain ones of the same names.

    Raises:
        ValueError: The indices of one do not fit.
    """
    for graph in all_graphs(model):
        graph.initializer.extend(_dense(sparse) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
    for node in all_nodes(model):
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "sparse_value":
                attribute.CopyFrom(onnx.helper.make_attribute("value", _dense(attribute.sparse_tensor)))


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    # Positions in the flat tensor, or one row of coordinates for each value.
    dense[np.unravel_index(indices, dense.shape) if indices.ndim == 1 else tuple(indices.T)] = values
    tensor: onnx.TensorProto = numpy_helper.from_array(dense, sparse.values.name)
    return tensor
