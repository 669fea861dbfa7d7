"""Sparse initializers made dense: onnx_ir leaves them out, and channels are cut from dense weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def make_dense(graph: onnx.GraphProto) -> None:
    """Turn the sparse initializers of a graph, in place, into plain ones of the same names.

    Raises:
        ValueError: The indices of one do not fit.
    """
    for sparse in graph.sparse_initializer:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        # Positions in the flat tensor, or one row of coordinates for each value.
        dense[np.unravel_index(indices, dense.shape) if indices.ndim == 1 else tuple(indices.T)] = values
        graph.initializer.append(numpy_helper.from_array(dense, sparse.values.name))
    del graph.sparse_initializer[:]
