"""What a session is opened on: a model's bytes, or, where they are many, a file that goes once the session is open.

A protobuf message cannot exceed 2 GiB, and on its way into a session its weights are in memory several times. Weights
in a file beside the model are mapped instead, and stay so when the file is removed: what a session maps is on the disk
until the session ends, however it ends.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from onnxprune.graph.load import release_weights
from onnxprune.graph.save import save_beside, to_bytes

# From so many bytes of weights on, writing them to a file takes less time than copying them.
_FILE_BYTES = 64 << 20


def is_large(model: ir.Model) -> bool:
    """Say whether a model's weights should be mapped rather than copied."""
    tensors = (value.const_value for graph in model.graphs() for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None) >= _FILE_BYTES


@contextlib.contextmanager
def session_source(model: ir.Model, name: str = "model") -> Iterator[bytes | Path]:
    """Give what sessions are opened on, until the context ends: the bytes of a model, or the file of a large one.

    Sessions opened on it go on after that.

    Args:
        model: The model; mapped weights of a large one are unmapped.
        name: Of the file, for whoever tells several apart by it.

    Raises:
        OutputError: The temporary folder cannot be written, or is full.
    """
    if not is_large(model):
        yield to_bytes(model)
        return
    # Not every system lets go of a file that is mapped; it lies in the temporary folder then.
    with tempfile.TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"{name}.onnx"
        save_beside(model, path)
        release_weights(model)
        yield path
