"""Tiny models to measure."""

import numpy as np
import onnx
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


def endless() -> bytes:
    """Serialise x (1, 4) -> a loop without end -> y."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 4] x) => (float[1, 4] y) <int64 n = {9223372036854775807}, bool go = {1}> {
            y = Loop(n, go, x) <body = body (int64 i, bool on, float[1, 4] a) => (bool again, float[1, 4] b) {
                again = Identity(on)
                b = Neg(a)
            }>
        }
    """)
    data: bytes = model.SerializeToString()
    return data


FEEDS = {"x": np.ones((1, 4), np.float32)}
