"""A model described without its weights, which do not decide its latency: the other side makes its own.

A file becomes segments. Large tensors of floats become `normal` segments: as many bytes of random values with the mean,
deviation and limits of the true ones, so that activations stay in their range and nothing becomes denormal. All else is
sent: integers, vectors, small tensors, what compresses well (masks, tables, constants: no weights), and the graph.
What is put together there has the same bytes at the same places but for the weights' values.

    ModelProto.graph (7) -> GraphProto.initializer (5) -> TensorProto.raw_data (9)
                         -> GraphProto.node (1) -> NodeProto.attribute (5) -> AttributeProto.t (5) -> TensorProto
"""

from __future__ import annotations

import base64
import hashlib
import math
import mmap
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.errors import DeviceError
from onnxprune.graph.fields import Buffer, fields, varint
from onnxprune.latency.device import Feeds, ModelSource

_GRAPH, _INITIALIZER, _NODE, _ATTRIBUTE, _TENSOR = 7, 5, 1, 5, 5
_DIMS, _TYPE, _RAW, _EXTERNAL, _FLOATS, _DOUBLES = 1, 2, 9, 13, 4, 10
_FLOAT_TYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
_LARGE_BYTES = 1 << 14
_CHUNK_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16
# Trained weights compress to nine tenths; half of that is no weight.
_COMPRESSES = 0.5
MODEL_FILE = "model.onnx"
"""Name that a model's file gets there."""

Segment = dict[str, Any]
"""A part of a file; see `on_device.content.write_segment`."""


@dataclass(frozen=True)
class Recipe:
    """A model as it is sent.

    Attributes:
        key: Digest of the description: equal keys, equal models.
        files: Segments of each file, by its name.
    """

    key: str
    files: dict[str, list[Segment]]

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests that put the files there, each of about a megabyte."""
        for name, segments in self.files.items():
            first = True
            for part in _batches(segments):
                yield {"do": "put", "model": self.key, "file": name, "first": first, "segments": part}
                first = False


@dataclass(frozen=True)
class _Tensor:
    """Where the values of a large tensor of floats lie: in the model's file, or in one beside it."""

    file: str
    start: int
    end: int
    dtype: str


def recipe(name: str, source: ModelSource, *, send_weights: bool = False) -> Recipe:
    """Describe a model.

    Args:
        name: The model's name, for messages.
        source: Its file or bytes.
        send_weights: Send the true weights, to compare.

    Raises:
        DeviceError: It cannot be read.
    """
    try:
        files = _files(source, send_weights=send_weights)
    except OSError as error:
        raise DeviceError(f"model '{name}' cannot be measured: cannot read '{source!r}': {error.strerror}") from error
    except (IndexError, ValueError) as error:
        raise DeviceError(f"model '{name}' cannot be measured: it is no well-formed ONNX file ({error})") from error
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:24]
    return Recipe(digest, files)


@dataclass(frozen=True)
class FeedsRecipe:
    """A model's inputs as they are sent.

    Attributes:
        key: Digest of the description: equal keys, equal inputs.
        arrays: Of each input its type and shape, and its segments.
    """

    key: str
    arrays: dict[str, tuple[dict[str, Any], list[Segment]]]

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests that put the inputs there, each of about a megabyte."""
        for name, (form, segments) in self.arrays.items():
            # What is empty is an array, too.
            batches = list(_batches(segments)) or [[]]
            for number, part in enumerate(batches, start=1):
                whole = {"first": number == 1, "last": number == len(batches)}
                yield {"do": "feeds", "key": self.key, "name": name, **form, **whole, "segments": part}


def feeds_recipe(feeds: Feeds, *, send_values: bool = False) -> FeedsRecipe:
    """Describe a model's inputs: large ones of floats by their distribution, as weights are.

    Args:
        feeds: The inputs.
        send_values: Send the true values of all.

    Raises:
        DeviceError: One is text.
    """
    arrays = {}
    for seed, (name, array) in enumerate(feeds.items()):
        if array.dtype.hasobject:
            raise DeviceError(
                f"input '{name}' takes text, which is not sent to a device over SSH; measure such a model on the "
                "device itself, with --device local"
            )
        raw, floats = array.tobytes(), array.dtype.name in _FLOAT_TYPES.values()
        described = floats and len(raw) >= _LARGE_BYTES and not send_values
        told = _described(raw, array.dtype.name, seed) if described else None
        form = {"dtype": array.dtype.str, "shape": list(array.shape)}
        arrays[name] = (form, list(_sent(raw, 0, len(raw))) if told is None else [told])
    return FeedsRecipe(hashlib.sha256(repr(arrays).encode()).hexdigest()[:24], arrays)


def _files(source: ModelSource, *, send_weights: bool) -> dict[str, list[Segment]]:
    if isinstance(source, bytes):
        tensors = [] if send_weights else _tensors(source)
        return {MODEL_FILE: _segments(source, tensors)}
    with _Mapped(source) as data:
        tensors = _tensors(data)
        beside = sorted({tensor.file for tensor in tensors if tensor.file} | _locations(data))
        kept = [] if send_weights else tensors
        result = {MODEL_FILE: _segments(data, [tensor for tensor in kept if not tensor.file])}
    for name in beside:
        with _Mapped(source.parent / name) as data:
            result[name] = _segments(data, [tensor for tensor in kept if tensor.file == name])
    return result


class _Mapped:
    """A file mapped for a while."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._data: mmap.mmap | None = None

    def __enter__(self) -> Buffer:
        try:
            self._data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            # An empty file cannot be mapped.
            return b""
        return self._data

    def __exit__(self, *_: object) -> None:
        if self._data is not None:
            self._data.close()
        self._file.close()


def _segments(data: Buffer, tensors: Sequence[_Tensor]) -> list[Segment]:
    result: list[Segment] = []
    position = 0
    for seed, tensor in enumerate(sorted(tensors, key=lambda t: (t.start, -t.end))):
        # Tied weights lie in one place, which is made once; what overlaps otherwise is sent as far as it is not made.
        apart = tensor.start >= position
        told = _described(data[tensor.start : tensor.end], tensor.dtype, seed) if apart else None
        if told is None:
            continue
        result += [*_sent(data, position, tensor.start), told]
        position = tensor.end
    return [*result, *_sent(data, position, len(data))]


def _sent(data: Buffer, start: int, end: int) -> Iterator[Segment]:
    for at in range(start, end, _CHUNK_BYTES):
        yield _data(data[at : min(at + _CHUNK_BYTES, end)])


def _data(raw: bytes) -> Segment:
    return {"data": base64.b64encode(zlib.compress(raw, 1)).decode()}


def _described(raw: bytes, dtype: str, seed: int) -> Segment | None:
    """Describe values that are weights; None for what may be something else."""
    middle = max(len(raw) // 2 - _SAMPLE_BYTES // 2, 0) // 8 * 8
    sample = raw[middle : middle + _SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) < _COMPRESSES * len(sample):
        return None
    if dtype == "bfloat16":
        values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(raw, dtype)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    told = {"mean": mean, "std": std, "low": low, "high": high}
    return {"normal": {"bytes": len(raw), "dtype": dtype, "seed": seed, **told}}


def _tensors(data: Buffer) -> list[_Tensor]:
    """Find the large matrices, kernels and tables of floats among the initializers and constants."""
    paths = ((_GRAPH, _INITIALIZER), (_GRAPH, _NODE, _ATTRIBUTE, _TENSOR))
    found = (_tensor(data, *where) for path in paths for where in _inside(data, (0, len(data)), path))
    return [tensor for tensor in found if tensor is not None]


def _inside(data: Buffer, where: tuple[int, int], path: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where the messages lie that a path of fields leads to."""
    if not path:
        yield where
        return
    for field, _, body, stop in fields(data, *where):
        if field == path[0]:
            yield from _inside(data, (body, stop), path[1:])


def _tensor(data: Buffer, start: int, end: int) -> _Tensor | None:
    axes, kind = 0, 0
    external: dict[str, str] = {}
    values: tuple[int, int] | None = None
    for field, tag, body, stop in fields(data, start, end):
        if field == _DIMS:
            axes += _wide_axes(data, tag, body, stop)
        elif field == _TYPE:
            kind = varint(data, body)[0]
        elif field == _EXTERNAL:
            key, value = _entry(data, body, stop)
            external[key] = value
        elif field in (_RAW, _FLOATS, _DOUBLES) and data[tag] & 7 == 2:
            values = (body, stop)
    file = external.get("location", "")
    if file and "length" in external:
        offset = int(external.get("offset", "0"))
        values = (offset, offset + int(external["length"]))
    if values is None or axes < 2 or kind not in _FLOAT_TYPES or values[1] - values[0] < _LARGE_BYTES:
        return None
    return _Tensor(file, *values, _FLOAT_TYPES[kind])


def _wide_axes(data: Buffer, tag: int, body: int, stop: int) -> int:
    """Count the sizes above 1 in a field of sizes, which is one number or several packed ones."""
    if data[tag] & 7 == 0:
        return int(varint(data, body)[0] > 1)
    count = 0
    while body < stop:
        size, body = varint(data, body)
        count += size > 1
    return count


def _locations(data: Buffer) -> set[str]:
    """Return the files that initializers lie in, beside the model's own."""
    entries = (
        _entry(data, body, stop)
        for start, end in _inside(data, (0, len(data)), (_GRAPH, _INITIALIZER))
        for field, _, body, stop in fields(data, start, end)
        if field == _EXTERNAL
    )
    return {value for key, value in entries if key == "location"}


def _entry(data: Buffer, start: int, end: int) -> tuple[str, str]:
    """Read a key and its value."""
    parts = {field: data[body:stop].decode() for field, _, body, stop in fields(data, start, end)}
    return parts.get(1, ""), parts.get(2, "")


def _batches(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        length = len(segment.get("data", ""))
        if batch and size + length > _CHUNK_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(segment)
        size += length
    yield batch
