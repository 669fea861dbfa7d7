"""Write a model whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxprune.errors import OutputError
from onnxprune.graph.stream import write_streamed

# A protobuf message cannot exceed 2 GiB; some room is left for the graph itself.
_MAX_INLINE_BYTES = 2**31 - 2**26
# What a tensor's sizes and lengths take beside an empty one's.
_BYTES_PER_TENSOR = 16
# Smaller weights stay in the model's own file, where onnxruntime looks for shapes.
_LEAST_BESIDE = 1 << 14
# Before it initializers had to be inputs, too, and those of normalised models are none.
_LEAST_IR_VERSION = 4
_STREAMS = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")
_NAMED = "onnxprune: sizes have names"


def note_names(model: ir.Model) -> None:
    """Take note of whether the file that a model was just read from names dynamic sizes inside the network."""
    model.graph.meta[_NAMED] = any(map(_has_names, _inner_values(model)))


def _without_names(model: ir.Model) -> bool:
    """Say whether a model is from a file that names no sizes inside the network."""
    return model.graph.meta.get(_NAMED) is False


def to_bytes(model: ir.Model) -> bytes:
    """Serialise a model, weights included; for models below 2 GiB."""
    data: bytes = ir.serde.serialize_model(inlined(_as_written(model))).SerializeToString()
    return data


def overhead_bytes(model: ir.Model) -> int:
    """Return the bytes of a model's file that are no weights: nodes, names, shapes; at most a few too many."""
    empty = model.clone()
    for value in empty.graph.initializers.values():
        value.const_value = ir.tensor(np.zeros(0, dtype=np.float32), name=value.name)
    count = len(empty.graph.initializers)
    return int(ir.serde.serialize_model(empty).ByteSize()) + _BYTES_PER_TENSOR * count


def save(model: ir.Model, path: str | Path) -> None:
    """Write `model` to `path`: one file, and weights beside it (`.data`) only where they exceed 2 GiB.

    Raises:
        OutputError: The path cannot be written, or the disk is full; nothing is left behind.
    """
    path, model = _linked(Path(path)), _as_written(model)
    weight_bytes = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    if weight_bytes <= _MAX_INLINE_BYTES:
        write_atomically(path, lambda temporary: _write_inline(model, temporary))
        return
    _save_in_two(model, path)


def save_beside(model: ir.Model, path: Path) -> None:
    """Write a model for a moment's use, weights in a file beside it, which onnxruntime maps instead of copying.

    Raises:
        OutputError: The temporary folder cannot be written, or is full.
    """
    try:
        ir.save(_as_written(model), path, external_data=f"{path.name}.data", size_threshold_bytes=_LEAST_BESIDE)
    except OSError as error:
        raise OutputError(
            f"cannot write temporary files in '{path.parent}': {_reason(error)}; set TMPDIR to a folder with room"
        ) from error


def _write_inline(model: ir.Model, temporary: Path) -> None:
    with temporary.open("wb") as file:
        write_streamed(model, file)


def _save_in_two(model: ir.Model, path: Path) -> None:
    """Write a model with its weights beside it; a file from before never reads the new weights."""
    check_writable(path)
    if is_device(path):
        raise OutputError(f"'{path}' takes one file, and weights above 2 GiB lie in a second one; give a file name")
    data = f"{path.name}.data"
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            ir.save(model, Path(folder) / path.name, external_data=data)
            path.unlink(missing_ok=True)
            (Path(folder) / data).replace(path.with_name(data))
            (Path(folder) / path.name).replace(path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {_reason(error)}; nothing was written") from error


def _as_written(model: ir.Model) -> ir.Model:
    """Return a model of a format version that its initializers are valid in: itself, or a copy that shares weights.

    Sizes have no names where the file that it was read from had none: told by names which are equal, onnxruntime fuses
    what it did not fuse before, and on the CPU an addition fused with a LayerNormalization takes longer than both.
    """
    unnamed = [value for value in _inner_values(model) if _has_names(value)] if _without_names(model) else []
    if model.ir_version >= _LEAST_IR_VERSION and not unnamed:
        return model
    copy = model.clone()
    copy.ir_version = max(copy.ir_version, _LEAST_IR_VERSION)
    if unnamed:
        for value in filter(_has_names, _inner_values(copy)):
            value.shape = None
    return copy


def _inner_values(model: ir.Model) -> Iterator[ir.Value]:
    return (value for node in model.graph for value in node.outputs if not value.is_graph_output())


def _has_names(value: ir.Value) -> bool:
    return value.shape is not None and not all(isinstance(size, int) for size in value.shape)


def inlined(model: ir.Model) -> ir.Model:
    """Return a model whose weights are in memory: itself, or a copy where some are mapped from files."""
    if not any(isinstance(value.const_value, ir.ExternalTensor) for value in _initializers(model)):
        return model
    copy = model.clone()
    for value in _initializers(copy):
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)
            # Where somebody holds a view of the mapped file, it stays mapped.
            with contextlib.suppress(BufferError):
                tensor.release()
    return copy


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    """Yield all initializers, those inside If, Loop and Scan too."""
    return (value for graph in model.graphs() for value in graph.initializers.values())


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be written; to be called before hours of work, too.

    Raises:
        OutputError: It is a directory, or its folder is missing or not writable.
    """
    if path_kind(path) == "folder":
        raise OutputError(f"'{path}' is a directory; give a file name to write to")
    if is_device(path):
        return
    if path_kind(path.parent) != "folder":
        raise OutputError(f"cannot write '{path}': the folder '{path.parent}' does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write '{path}': no permission to write in '{path.parent}'")


def is_device(path: Path) -> bool:
    """Whether a path is a pipe, a terminal or the like (/dev/null), which takes anything and is never replaced."""
    # /dev/stdout is a link, to a file where that is where output goes.
    return path_kind(path) == "device" or _STREAMS.fullmatch(str(path)) is not None


def _linked(path: Path) -> Path:
    """Return the file that a path is a link to; itself where it is none."""
    return Path(os.path.realpath(path)) if path.is_symlink() and not is_device(path) else path


def path_kind(path: Path) -> Literal["file", "folder", "device"] | None:
    """Say what a path is; None: nothing, or nothing that may be looked at, where pathlib's questions are errors."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


def write_atomically(
    path: str | Path, write: Callable[[Path], None], *, failures: tuple[type[Exception], ...] = ()
) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`; devices are written to directly.

    A file that is there keeps its permissions, and a link stays a link to what is written.

    Args:
        path: Where the file is to appear.
        write: Called with the temporary path.
        failures: Errors besides OSError by which a library says that a file cannot be written.

    Raises:
        OutputError: The folder is missing or not writable, or the disk is full.
    """
    path = _linked(Path(path))
    check_writable(path)
    atomic = not is_device(path)
    caught: tuple[type[Exception], ...] = (OSError, *failures)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp") if atomic else path
    try:
        write(temporary)
        if atomic:
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
    except caught as error:
        raise OutputError(f"cannot write '{path}': {_reason(error)}; nothing was written") from error
    finally:
        if atomic:
            temporary.unlink(missing_ok=True)


def write_text(text: str, path: str | Path) -> None:
    """Write a text as UTF-8, whole or not at all.

    Raises:
        OutputError: The path cannot be written, or the disk is full.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
