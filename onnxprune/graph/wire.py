"""Read a model file without reading its weights.

An ONNX file is a protobuf whose weights are byte fields in the middle of it. Reading it whole holds every weight twice
for a moment (the file and the parsed message). Here the message is taken apart on the mapped file: large weights are
left where they are and described as external data at their offset in the file itself, which onnx_ir maps on demand.

    ModelProto.graph (7) -> GraphProto.initializer (5) -> TensorProto.raw_data (9)
"""

from __future__ import annotations

import mmap
from pathlib import Path

import onnx

from onnxprune.graph.fields import LENGTH, fields

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
# Smaller weights are read with the graph.
_LARGE_BYTES = 1 << 14


def read_light(path: Path) -> onnx.ModelProto:
    """Parse a model file, its large weights as external data of the same file.

    Raises:
        google.protobuf.message.DecodeError: The file is no ONNX model, or truncated.
        OSError: It cannot be read.
    """
    if path.stat().st_size < _LARGE_BYTES or path.stat().st_nlink > 1:
        # onnx_ir refuses to map files that have several names.
        return onnx.load_model(path, format="protobuf", load_external_data=False)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            light = _without_weights(data, path.name)
        except (IndexError, ValueError):
            # Not a well-formed message: let protobuf say so.
            light = bytes(data)
    model: onnx.ModelProto = onnx.ModelProto.FromString(light)
    return model


def _without_weights(data: mmap.mmap, name: str) -> bytes:
    parts: list[bytes] = []
    for field, start, body, end in fields(data, 0, len(data)):
        if field != GRAPH:
            parts.append(data[start:end])
            continue
        inner = [
            _light_tensor(data, body_, end_, name) if field_ == INITIALIZER else data[start_:end_]
            for field_, start_, body_, end_ in fields(data, body, end)
        ]
        parts.append(_delimited(GRAPH, b"".join(inner)))
    return b"".join(parts)


def _light_tensor(data: mmap.mmap, start: int, end: int, name: str) -> bytes:
    parts: list[bytes] = []
    for field, at, body, stop in fields(data, start, end):
        if field != RAW_DATA or stop - body < _LARGE_BYTES:
            parts.append(data[at:stop])
            continue
        tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", name), ("offset", str(body)), ("length", str(stop - body))):
            tensor.external_data.add(key=key, value=value)
        parts.append(tensor.SerializeToString())
    return _delimited(INITIALIZER, b"".join(parts))


def _delimited(field: int, body: bytes) -> bytes:
    return length_prefix(field, len(body)) + body


def length_prefix(field: int, size: int) -> bytes:
    """Return what stands before the body of a field of `size` bytes."""
    return _encoded(field << 3 | LENGTH) + _encoded(size)


def _encoded(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
