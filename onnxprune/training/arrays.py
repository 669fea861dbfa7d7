"""Samples that are arrays in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxprune.errors import DataError
from onnxprune.training.dataset import AnyArray, Dataset, IntArray
from onnxprune.training.layout import (
    ModelInputs,
    channel_axis,
    check_channel_counts,
    check_dtype,
    fit_samples,
    is_float,
    no_arithmetic,
    picture_shape,
    shown,
)
from onnxprune.training.preprocess import PRESETS, Preprocess, normalise_pixels

if TYPE_CHECKING:
    from onnxprune.graph import InputSpec

LABEL_NAMES = ("y", "labels", "label", "targets", "target")
PARTS: Mapping[str, str] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Names of parts, as folders and array suffixes, and the part they are."""
_GREY = (0.299, 0.587, 0.114)
_BLOCK_BYTES = 16 << 20
_UNUSED = "{origin}: array '{name}' is no input of the model, and labels are called y: not used"
_LOOKED_AT = 64
UNIT_ASSUMED = "no preprocessing given: pixels of {origin} are scaled to 0..1 (--preprocess unit)"


@dataclass(frozen=True, eq=False)
class Feed:
    """The samples of one input.

    Attributes:
        name: What the data calls the array.
        array: Raw values in the input's layout, shape (n, ...).
        dtype: What the input takes.
        preprocess: What is done to the values; None: nothing.
        axis: The axis that per-channel means run along.
    """

    name: str
    array: AnyArray
    dtype: np.dtype
    preprocess: Preprocess | None
    axis: int

    def read(self, rows: IntArray) -> AnyArray:
        """Return these rows, ready for the model."""
        return self._ready(self.array[rows])

    def not_finite(self) -> IntArray:
        """Return the rows that hold NaN or infinite values once they are ready for the model."""
        if self.array.dtype.kind in "iub" or self.array.size == 0:
            return np.empty(0, np.int64)
        step = max(_BLOCK_BYTES * len(self.array) // self.array.nbytes, 1)
        starts = range(0, len(self.array), step)
        # What is too large for the model's type becomes infinite, and is found as such.
        with np.errstate(over="ignore", invalid="ignore"):
            found = [start + _not_finite(self._ready(self.array[start : start + step])) for start in starts]
        return np.concatenate(found)

    def _ready(self, raw: AnyArray) -> AnyArray:
        if self.preprocess is None:
            return np.ascontiguousarray(raw, self.dtype)
        if raw.ndim == 4 and raw.shape[self.axis] == 3:
            raw = _coloured(raw, self.axis, self.preprocess)
        return np.ascontiguousarray(normalise_pixels(raw, self.preprocess, self.axis), self.dtype)


def _coloured(raw: AnyArray, axis: int, preprocess: Preprocess) -> AnyArray:
    """Turn arrays that hold rgb into what the model reads; grey by the weights of ITU-R 601-2, as for pictures."""
    if preprocess.color == "bgr":
        return np.flip(raw, axis)
    if preprocess.color != "grey":
        return raw
    grey = np.tensordot(raw.astype(np.float64), _GREY, (axis, 0))
    grey = np.rint(grey) if raw.dtype.kind in "iu" else grey
    return np.broadcast_to(np.expand_dims(grey, axis), raw.shape).astype(raw.dtype)


def _not_finite(block: AnyArray) -> IntArray:
    return np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Samples held as arrays, one feed an input."""

    feeds: tuple[Feed, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.feeds[0].array)

    def fetch(self, rows: IntArray) -> tuple[AnyArray, ...]:
        """Read samples by number."""
        return tuple(feed.read(rows) for feed in self.feeds)


def check_finite(data: Dataset, part: str) -> None:
    """Refuse arrays that hold NaN or infinite values, of which a network gives nothing to learn or judge by.

    Args:
        data: The samples; only those that are arrays are looked at: bytes of pictures are always finite.
        part: Which part of the data they are, or "all".

    Raises:
        DataError: It names the array and the first such sample.
    """
    feeds = data.source.feeds if isinstance(data.source, ArraySource) else ()
    for feed in feeds:
        rows = feed.not_finite()
        if len(rows):
            where = data.origin if part == "all" else f"{data.origin} ({part} part)"
            raise DataError(
                f"{where}: array '{feed.name}' has NaN or infinite values in {len(rows)} of {len(feed.array)} samples, "
                f"the first at index {rows[0]}; correct or leave out these samples"
            )


def arrays_dataset(arrays: Mapping[str, AnyArray], wanted: ModelInputs, origin: str) -> Dataset:
    """Make a dataset of arrays named as the model's inputs (or `x`, for a model with one), and labels (`y`).

    Raises:
        DataError: An array is missing, or does not fit in shape, type or length.
    """
    found = _match(arrays, wanted.specs, origin)
    labels_name = next((name for name in LABEL_NAMES if name in arrays and name not in found.values()), None)
    feeds = tuple(_feed(found[spec.name], arrays, spec, wanted, origin) for spec in wanted.specs)
    count = len(feeds[0].array)
    lengths = {found[spec.name]: len(feed.array) for spec, feed in zip(wanted.specs, feeds, strict=True)}
    labels = targets = None
    if labels_name is not None:
        targets = _read(arrays, labels_name, origin)
        labels = _labels(targets, wanted, f"{origin}: '{labels_name}'")
        lengths[labels_name] = len(targets)
    if len(set(lengths.values())) > 1:
        raise DataError(f"{origin}: arrays have different numbers of samples: {lengths}")
    if count == 0:
        raise DataError(f"{origin} holds no samples")
    assumed = wanted.preprocess is None and any(feed.preprocess is not None for feed in feeds)
    used = {*found.values(), labels_name}
    notes = [UNIT_ASSUMED.format(origin=origin)] if assumed else []
    notes += [_UNUSED.format(origin=origin, name=name) for name in arrays if name not in used]
    notes += [note for feed in feeds for note in _raw_pixels(feed, wanted, origin)]
    own = targets if wanted.any_labels else None
    return Dataset(ArraySource(feeds), np.arange(count), labels, origin=origin, notes=tuple(notes), targets=own)


def _raw_pixels(feed: Feed, wanted: ModelInputs, origin: str) -> Iterator[str]:
    """Say where numbers look like pixels that nobody scaled: bytes are scaled, others are taken as they are."""
    given = wanted.preprocess is not None or feed.preprocess is not None
    if given or feed.array.ndim != 4 or feed.dtype.kind != "f":
        return
    few = feed.array[:_LOOKED_AT]
    if few.size and np.isfinite(few).all() and few.min() >= 0 and 127 < few.max() <= 255:
        yield (
            f"{origin}: values of '{feed.name}' run from 0 to {few.max():g}, as pixels do, and are taken as they are "
            "(--preprocess unit scales them to 0..1; none says that this is meant)"
        )


def _read(arrays: Mapping[str, AnyArray], name: str, origin: str) -> AnyArray:
    """Take what was given under a name as an array of samples."""
    try:
        array = np.asarray(arrays[name])
    except ValueError as error:
        raise DataError(f"{origin}: '{name}' cannot be read as an array: {error}") from error
    if array.ndim == 0:
        raise DataError(f"{origin}: '{name}' is a single number; samples go along an array's first axis")
    return array


def _labels(targets: AnyArray, wanted: ModelInputs, origin: str) -> IntArray | None:
    try:
        return class_numbers(targets, origin)
    except DataError:
        if wanted.any_labels:
            return None
        raise


def _match(arrays: Mapping[str, AnyArray], inputs: Sequence[InputSpec], origin: str) -> dict[str, str]:
    """Find the array of every input."""
    names = [spec.name for spec in inputs]
    if all(name in arrays for name in names):
        return {name: name for name in names}
    if len(names) == 1 and "x" in arrays:
        return {names[0]: "x"}
    has = ", ".join(f"'{n}' {shown(np.shape(a))}" for n, a in arrays.items()) or "no arrays"
    needs = ", ".join(f"'{name}'" for name in names) + (" or 'x'" if len(names) == 1 and names != ["x"] else "")
    raise DataError(
        f"{origin} has {has}, but the model needs {needs}; name the arrays as the model's inputs, labels as 'y'"
    )


def _feed(name: str, arrays: Mapping[str, AnyArray], spec: InputSpec, wanted: ModelInputs, origin: str) -> Feed:
    array = _read(arrays, name, origin)
    sample, preprocess = wanted.sample(spec), wanted.preprocess
    check_dtype(array, spec, origin)
    fitted = fit_samples(array, sample, spec.name, origin)
    layout = preprocess.layout if preprocess else None
    axis = channel_axis(sample, layout)
    applied = _applied(array, spec, wanted)
    if applied is not None:
        check_channel_counts(applied, sample[axis - 1] if sample else 1, spec.name)
        _check_size(applied, sample, spec.name, origin)
    return Feed(name, fitted, spec.dtype, applied, axis)


def _applied(array: AnyArray, spec: InputSpec, wanted: ModelInputs) -> Preprocess | None:
    """Say what is done to an input's values.

    What the user gave is for pictures (and for whatever a model's only input takes). Without a word, bytes
    for a picture input are scaled to 0..1 and everything else is taken to be ready.
    """
    preprocess = wanted.preprocess
    picture = len(wanted.sample(spec)) == 3
    if preprocess is not None and (picture or len(wanted.specs) == 1):
        if not is_float(spec) and preprocess.changes_values:
            raise DataError(no_arithmetic(spec))
        return preprocess if is_float(spec) or preprocess.color else None
    if preprocess is None and picture and is_float(spec) and array.dtype == np.uint8:
        return PRESETS["unit"]
    return None


def _check_size(preprocess: Preprocess, sample: Sequence[int], name: str, origin: str) -> None:
    """Refuse a size that arrays, which are never resized, do not have."""
    if preprocess.size is None or len(sample) != 3:
        return
    picture = picture_shape(sample, preprocess.layout)
    if np.broadcast_to(preprocess.size, 2).tolist() != [picture.height, picture.width]:
        raise DataError(
            f"preprocess: size {preprocess.size} is not the {picture.height} x {picture.width} "
            f"of input '{name}', and arrays ({origin}) are not resized; leave size out"
        )


def class_numbers(labels: AnyArray, origin: str) -> IntArray:
    """Read labels as class numbers, from integers of shape (n,) or (n, 1), or one-hot rows.

    Raises:
        DataError: They are neither.
    """
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "fiub" and _is_one_hot(array):
        return np.asarray(array.argmax(axis=1), np.int64)
    whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and _are_whole(array))
    if array.ndim != 1 or not whole:
        raise DataError(
            f"{origin} holds {array.dtype.name} of shape {shown(array.shape)}, but labels are class "
            "numbers, shape (N,); leave labels out to learn from the original network's outputs alone, or give a "
            "--metric, whose labels may be anything with one row a sample"
        )
    numbers = array.astype(np.int64)
    if numbers.size and numbers.min() < 0:
        raise DataError(f"{origin} holds the label {numbers.min()}; class numbers begin at 0")
    return numbers


def _are_whole(array: AnyArray) -> bool:
    return bool(np.all(np.isfinite(array) & (array == np.floor(array))))


def _is_one_hot(array: AnyArray) -> bool:
    return bool(np.all((array == 0) | (array == 1)) and np.all(array.sum(axis=1) == 1))
