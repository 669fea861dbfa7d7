"""Arrays by name, from `.npz` and `.npy` files or given as they are, sorted into the parts of the data."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxprune.errors import DataError
from onnxprune.training.arrays import LABEL_NAMES, PARTS, arrays_dataset
from onnxprune.training.dataset import AnyArray, Dataset
from onnxprune.training.layout import ModelInputs

# RuntimeError: where a byte that says how an array is packed is another one.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_BEGIN_NPY, _BEGIN_ZIP = b"\x93NUMPY", b"PK"
_WRITE_SO = "write arrays of numbers by numpy.savez(file, x=samples, y=labels)"


def read_array_file(path: Path, wanted: ModelInputs) -> dict[str, Dataset]:
    """Read an `.npz` or `.npy` file; see `read_arrays`.

    Raises:
        DataError: The file cannot be read, or its arrays do not fit.
    """
    return read_arrays(_load(path), wanted, f"'{path}'")


def read_arrays(arrays: Mapping[str, AnyArray], wanted: ModelInputs, origin: str) -> dict[str, Dataset]:
    """Sort arrays into parts and make datasets of them.

    Args:
        arrays: Samples and labels by name.
        wanted: What the model takes.
        origin: Where they come from.

    Returns:
        Datasets by part: "all", or those of "train", "val", "test" that names end in (`x_train`, `y_test`, ...). Where
        others do and none in `train`, names without an end are the training part.

    Raises:
        DataError: The arrays do not fit, or labels belong to no part.
    """
    by_part = _by_part(arrays)
    found = {part: arrays_dataset(members, wanted, origin) for part, members in by_part.items()}
    unused = [name for name in arrays if _part_of(name) is None and not any(name in part for part in by_part.values())]
    labels = [name for name in unused if name in LABEL_NAMES]
    if labels:
        raise DataError(
            f"{origin} comes in parts (x_train, ...), but '{labels[0]}' belongs to none: split it into "
            f"'{labels[0]}_train' and so on, or leave it out"
        )
    notes = tuple(f"{origin}: array '{name}' belongs to no part (_train, _val, _test): not used" for name in unused)
    return {part: replace(data, notes=(*data.notes, *notes)) for part, data in found.items()}


def _load(path: Path) -> dict[str, AnyArray]:
    """Read the arrays of a file; that of an `.npy` file is `x`."""
    name = "x"
    try:
        with path.open("rb") as file:
            begins = file.read(len(_BEGIN_NPY))
        if not begins.startswith((_BEGIN_NPY, _BEGIN_ZIP)):
            raise DataError(f"'{path}' cannot be read: it is neither an .npz nor an .npy file; {_WRITE_SO}")
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {name: loaded}
        arrays = {}
        with loaded:
            for name in loaded:
                arrays[name] = loaded[name]
        return arrays
    except _DAMAGED as error:
        # numpy tells of objects by this name only, and of no other damage so.
        if "allow_pickle" in str(error):
            raise DataError(
                f"'{path}' cannot be read: array '{name}' holds Python objects instead of numbers; {_WRITE_SO}"
            ) from error
        raise DataError(f"'{path}' cannot be read as an .npz file of plain arrays: {error}") from error


def _by_part(arrays: Mapping[str, AnyArray]) -> dict[str, dict[str, AnyArray]]:
    """Sort `x_train`, `y_test` and the like into parts; everything is one part where no name ends so."""
    parts: dict[str, dict[str, AnyArray]] = {}
    for name, array in arrays.items():
        part = _part_of(name)
        if part is not None:
            parts.setdefault(part, {})[name.rpartition("_")[0]] = array
    rest = {name: array for name, array in arrays.items() if _part_of(name) is None}
    if "train" not in parts and any(name in rest for members in parts.values() for name in members):
        parts["train"] = rest
    return parts if "train" in parts else {"all": dict(arrays)}


def _part_of(name: str) -> str | None:
    """Tell the part that an array's name ends in."""
    stem, _, suffix = name.rpartition("_")
    return PARTS.get(suffix) if stem else None
