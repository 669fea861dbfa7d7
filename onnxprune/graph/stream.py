"""Write a model file weight by weight, so that no second copy of the weights is made.

    ModelProto.graph (7) -> GraphProto.initializer (5) -> TensorProto.raw_data (9)

The rest of the model is serialised without weights; then each initializer follows, its data written straight from where
it lies. Protobuf takes the fields of a message in any order.
"""

from __future__ import annotations

import contextlib
from typing import BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from onnxprune.graph.wire import GRAPH, INITIALIZER, RAW_DATA, length_prefix

# Smaller weights are serialised whole.
_LARGE_BYTES = 1 << 20


def write_streamed(model: ir.Model, file: BinaryIO) -> None:
    """Write a model below 2 GiB with its weights inside.

    Args:
        model: The model; mapped weights are unmapped once they are written.
        file: Where it is written to.
    """
    proto = _without_weights(model)
    graph = onnx.GraphProto()
    graph.CopyFrom(proto.graph)
    proto.ClearField("graph")
    held = [(str(v.name), v.const_value) for v in model.graph.initializers.values() if v.const_value is not None]
    tensors = [tensor for _, tensor in held]
    heads = [_head(name, tensor) for name, tensor in held]
    sizes = [
        len(head) + (tensor.nbytes if _is_large(tensor) else 0) for head, tensor in zip(heads, tensors, strict=True)
    ]
    rest = graph.SerializeToString()
    prefixes = [length_prefix(INITIALIZER, size) for size in sizes]
    file.write(proto.SerializeToString())
    file.write(length_prefix(GRAPH, len(rest) + sum(sizes) + sum(map(len, prefixes))))
    file.write(rest)
    for prefix, head, tensor in zip(prefixes, heads, tensors, strict=True):
        file.write(prefix)
        file.write(head)
        if _is_large(tensor):
            _write_data(tensor, file)


def _is_large(tensor: ir.TensorProtocol) -> bool:
    return tensor.nbytes >= _LARGE_BYTES and tensor.dtype != ir.DataType.STRING


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    light = model.clone()
    for value in light.graph.initializers.values():
        value.const_value = ir.tensor(np.zeros(0, dtype=np.float32), name=value.name)
    proto: onnx.ModelProto = ir.serde.serialize_model(light)
    proto.graph.ClearField("initializer")
    return proto


def _head(name: str, tensor: ir.TensorProtocol) -> bytes:
    """Serialise a tensor up to its data; a small one whole."""
    if not _is_large(tensor):
        small = tensor
        if isinstance(tensor, ir.ExternalTensor):
            small = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)
            _unmap(tensor)
        proto = ir.serde.serialize_tensor(small)
        proto.name = name
        whole: bytes = proto.SerializeToString()
        return whole
    dims = tensor.shape.numpy()
    proto = onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=dims, doc_string=tensor.doc_string)
    head: bytes = proto.SerializeToString()
    return head + length_prefix(RAW_DATA, tensor.nbytes)


def _write_data(tensor: ir.TensorProtocol, file: BinaryIO) -> None:
    if isinstance(tensor, ir.ExternalTensor | ir.LazyTensor):
        ir.Tensor(tensor.numpy(), dtype=tensor.dtype).tofile(file)
    else:
        file.write(tensor.tobytes())
    _unmap(tensor)


def _unmap(tensor: ir.TensorProtocol) -> None:
    if isinstance(tensor, ir.ExternalTensor):
        # Where somebody holds a view of the mapped file, it stays mapped.
        with contextlib.suppress(BufferError):
            tensor.release()
