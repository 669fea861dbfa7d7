"""Tiny models to measure."""

import numpy as np
import onnx_ir as ir

FLOAT = ir.TensorType(ir.DataType.FLOAT)


def one_op(op_type: str = "Relu", domain: str = "") -> bytes:
    """Serialise x (1, 4) -> op -> y."""
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=FLOAT)
    y = ir.Value(name="y", shape=ir.Shape([1, 4]), type=FLOAT)
    node = ir.node(op_type, [x], domain=domain, outputs=[y])
    opsets = {"": 17, domain: 1} if domain else {"": 17}
    graph = ir.Graph([x], [y], nodes=[node], opset_imports=opsets, name="one_op")
    data: bytes = ir.serde.serialize_model(ir.Model(graph, ir_version=8)).SerializeToString()
    return data


FEEDS = {"x": np.ones((1, 4), np.float32)}
