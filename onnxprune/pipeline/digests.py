"""Digests of what a run is of: its model, the weights beside it, and its data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.errors import OnnxPruneError
from onnxprune.graph import external_files
from onnxprune.training import DataSpec
from onnxprune.training.images import CLASS_FILE, picture_files

# Reading a larger file would take longer than many a run's start; its size and time of change stand for it, and for an
# array so large its shape and some rows.
_READ_BYTES, _ROWS = 256 << 20, 1024
_BLOCK_BYTES = 16 << 20


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file; empty where it cannot be read, since reading the model says what is wrong."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def weight_digests(model: Path) -> dict[str, str]:
    """Return the digest of each file with a model's weights beside it, by names relative to its folder."""
    try:
        files = external_files(model)
    except OnnxPruneError:
        # Reading the model says what is wrong with it.
        return {}
    folder = model.resolve().parent
    return {os.path.relpath(file, folder): file_digest(file) for file in files}


def data_digest(spec: DataSpec | None) -> str | None:
    """Return what is another text when a source of data has changed, its first word "file", "folder" or "arrays".

    Args:
        spec: The source.

    Returns:
        The text; None where nothing can be told: of a function, and of what is not there.
    """
    try:
        if isinstance(spec, str | Path):
            return _path_digest(Path(spec))
        arrays = _arrays(spec)
        return f"arrays {_arrays_digest(arrays)}" if arrays else None
    except (OSError, TypeError, ValueError, RuntimeError):
        # Reading the data says what is wrong with it.
        return None


def _path_digest(path: Path) -> str | None:
    if path.is_dir():
        return f"folder {_folder_digest(path)}"
    if not path.is_file():
        return None
    found = path.stat()
    if found.st_size > _READ_BYTES:
        return f"file of {found.st_size} bytes, changed at {found.st_mtime_ns} ns"
    digest = file_digest(path)
    return f"file {digest}" if digest else None


def _folder_digest(folder: Path) -> str:
    """Digest names, sizes and times of change: to read every picture would take too long."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        found = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Find what is read of a folder: its pictures, and the names of classes."""
    yield from picture_files(folder)
    yield from folder.rglob(CLASS_FILE)


def _arrays(spec: object) -> dict[str, Any]:
    """Return the arrays of a source, or those that a function is given; none of other functions."""
    if isinstance(spec, partial):
        given = {**{str(place): value for place, value in enumerate(spec.args)}, **spec.keywords}
        return {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    if isinstance(spec, Mapping):
        return {str(name): value for name, value in spec.items()}
    if isinstance(spec, tuple):
        return {str(place): value for place, value in enumerate(spec)}
    return {"x": spec} if isinstance(spec, np.ndarray) else {}


def _arrays_digest(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        array = np.asarray(value)
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\n".encode())
        for piece in _pieces(array):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(array: np.ndarray) -> Iterator[bytes]:
    """Yield what an array holds, a part at a time; of a large one some rows, as it may be a file's."""
    if array.dtype.hasobject:
        text = repr(array.tolist())
        # What has no text of its own is told by its address.
        yield b"" if " at 0x" in text else text.encode()
        return
    if array.nbytes > _READ_BYTES:
        array = array[np.linspace(0, len(array) - 1, _ROWS).astype(int)]
    array = array.reshape(1) if array.ndim == 0 else array
    rows = max(1, _BLOCK_BYTES * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).tobytes()
