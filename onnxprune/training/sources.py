"""What `--data` takes, opened and split into train, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxprune.errors import DataError
from onnxprune.graph import path_kind
from onnxprune.training.array_files import read_array_file, read_arrays
from onnxprune.training.arrays import arrays_dataset, check_finite
from onnxprune.training.dataset import AnyArray, Dataset, DataSplits, cut
from onnxprune.training.functions import names_function, read_function
from onnxprune.training.images import SUFFIXES, read_image_folder
from onnxprune.training.layout import ModelInputs, shown
from onnxprune.training.preprocess import Preprocess
from onnxprune.training.task import TaskMetric

if TYPE_CHECKING:
    from onnxprune.graph import InputSpec

DataSpec = str | Path | Callable[[], Iterable[Any]] | Mapping[str, AnyArray] | tuple[AnyArray, AnyArray] | AnyArray
"""A folder, a file, package.module:function, a function, arrays by name, (x, y), or x."""

FRACTIONS = (0.8, 0.1, 0.1)
_TAKES = "--data takes a folder of pictures, an .npz file, or package.module:function"


def open_data(
    spec: DataSpec,
    inputs: Sequence[InputSpec],
    input_shapes: Mapping[str, Sequence[int]],
    preprocess: Preprocess | None,
    seed: int,
    *,
    val: DataSpec | None = None,
    test: DataSpec | None = None,
    fractions: tuple[float, float, float] = FRACTIONS,
    metric: TaskMetric | None = None,
) -> DataSplits:
    """Open data and split it by seed, each class in its share.

    Parts that are given (`val`, `test`, folders or arrays named train, val and test) stay as they are; the
    others are cut from `spec`, in the given proportions. A given validation part without a test part, beside
    train in the same source, is halved into both, since the original network has mostly seen its training
    part.

    Args:
        spec: Where the data is.
        inputs: What the model takes.
        input_shapes: Concrete size of every input, batch included.
        preprocess: What is done to the values; None: see `read_image_folder` and `arrays_dataset`.
        seed: Seed of the split.
        val: The validation part, where it is given.
        test: The test part, where it is given.
        fractions: Shares of train, validation and test.
        metric: The user's own metric; labels may then be anything, one row a sample.

    Raises:
        DataError: The data is missing, unreadable, not finite, or does not fit the model; it says what and where.
    """
    wanted = ModelInputs(tuple(inputs), input_shapes, preprocess, any_labels=metric is not None)
    parts = _read(spec, wanted, None)
    classes = next(iter(parts.values())).classes
    for name, given in (("val", val), ("test", test)):
        if given is not None:
            parts[name] = _one_part(_read(given, wanted, classes), name)
    for name, data in parts.items():
        check_finite(data, name)
    full = _complete(parts, fractions, seed, halve=val is None)
    notes = tuple(dict.fromkeys(note for part in parts.values() for note in part.notes))
    full = {name: replace(data, metric=metric) for name, data in full.items()}
    return DataSplits(full["train"], full["val"], full["test"], notes)


def open_samples(
    spec: DataSpec,
    inputs: Sequence[InputSpec],
    input_shapes: Mapping[str, Sequence[int]],
    preprocess: Preprocess | None,
) -> Dataset:
    """Open data as one part: all of it, or its test part where it comes in parts.

    Labels that are no class numbers, such as masks, are left out with a note: there is no metric that would use them.

    Args:
        spec: Where the data is.
        inputs: What the model takes.
        input_shapes: Concrete size of every input, batch included.
        preprocess: What is done to the values, as for `open_data`.

    Raises:
        DataError: The data is missing, unreadable, not finite, or does not fit the model.
    """
    parts = _read(spec, ModelInputs(tuple(inputs), input_shapes, preprocess, any_labels=True), None)
    data = _one_part(parts, "test")
    part = next(name for name, one in parts.items() if one is data)
    check_finite(data, part)
    if part in {"val", "train"}:
        data = replace(data, notes=(*data.notes, f"{data.origin} has no test part: its part '{part}' is taken"))
    if data.targets is not None and data.labels is None:
        what = f"{data.targets.dtype} of shape {shown(data.targets.shape)}"
        data = replace(data, notes=(*data.notes, f"{data.origin}: labels ({what}) are no class numbers: not used"))
    return replace(data, targets=None)


def _read(spec: DataSpec, wanted: ModelInputs, classes: Sequence[str] | None) -> dict[str, Dataset]:
    if isinstance(spec, str | Path):
        return _read_named(spec, wanted, classes)
    if isinstance(spec, Mapping):
        return read_arrays(spec, wanted, "data")
    if isinstance(spec, np.ndarray):
        return {"all": arrays_dataset({"x": spec}, wanted, "data")}
    if isinstance(spec, tuple):
        if len(spec) != 2:
            raise DataError(f"data is a tuple of {len(spec)}; give (x, y), arrays by their inputs' names, or one array")
        labelled = {} if spec[1] is None else {"y": spec[1]}
        return {"all": arrays_dataset({"x": spec[0], **labelled}, wanted, "data")}
    if callable(spec):
        return {"all": read_function(spec, wanted)}
    raise DataError(
        f"data of type {type(spec).__name__} cannot be read; {_TAKES}; as a library also arrays, or a function that "
        "returns an iterable of (inputs, labels), such as lambda: loader"
    )


def _read_named(spec: str | Path, wanted: ModelInputs, classes: Sequence[str] | None) -> dict[str, Dataset]:
    path = Path(spec)
    kind = path_kind(path)
    if kind == "folder":
        return read_image_folder(path, wanted, classes)
    if kind == "file":
        if path.suffix.lower() in (".npz", ".npy"):
            return read_array_file(path, wanted)
        what = "a single picture; give its folder" if path.suffix.lower() in SUFFIXES else "neither"
        raise DataError(f"'{path}' cannot be read: {_TAKES}; this is {what}")
    if names_function(str(spec)):
        return {"all": read_function(str(spec), wanted)}
    raise DataError(f"there is no file or folder '{spec}'; {_TAKES}")


def _one_part(parts: Mapping[str, Dataset], name: str) -> Dataset:
    """Take what `--val` or `--test` names as one part: the one of that name, or what comes nearest."""
    nearest = ("val",) if name == "test" else ()
    return next(parts[part] for part in ("all", name, *nearest, "train") if part in parts)


def _complete(
    parts: Mapping[str, Dataset], fractions: tuple[float, float, float], seed: int, *, halve: bool
) -> dict[str, Dataset]:
    """Cut the parts that are missing from those that are there."""
    full = {name: data for name, data in parts.items() if name != "all"}
    rest = full.pop("train", None)
    if "val" in full and "test" not in full and rest is not None and halve:
        full["val"], full["test"] = cut(full["val"], (1, 1), seed)
    rest = parts["all"] if rest is None else rest
    shares = dict(zip(("train", "val", "test"), fractions, strict=True))
    wanted = {name: share for name, share in shares.items() if name not in full}
    full.update(zip(wanted, cut(rest, list(wanted.values()), seed), strict=True))
    return full
