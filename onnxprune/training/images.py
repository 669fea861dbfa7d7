"""Samples that are pictures in a folder, decoded when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from onnxprune.cores import allowed_cores
from onnxprune.errors import DataError
from onnxprune.training.arrays import PARTS, UNIT_ASSUMED
from onnxprune.training.dataset import AnyArray, Dataset, IntArray
from onnxprune.training.layout import (
    ModelInputs,
    PictureShape,
    check_channel_counts,
    is_float,
    no_arithmetic,
    picture_shape,
    shown,
)
from onnxprune.training.preprocess import PRESETS, Preprocess, normalise_pixels

if TYPE_CHECKING:
    from onnxprune.graph import InputSpec

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_OTHER_SUFFIXES = frozenset({".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".pgm", ".ppm"})
CLASS_FILE = "classes.txt"
_CACHE_BYTES = 1 << 30
_DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class ImageFolder:
    """Pictures by number; they stay in memory, resized, when all of them fit into 1 GiB."""

    def __init__(self, paths: Sequence[Path], picture: PictureShape, preprocess: Preprocess, dtype: np.dtype) -> None:
        self._paths = tuple(paths)
        self._picture = picture
        self._preprocess = preprocess
        self._dtype = dtype
        picture_bytes = picture.height * picture.width * picture.channels
        self._keep = picture_bytes * len(self._paths) <= _CACHE_BYTES
        self._cache: dict[int, AnyArray] = {}

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._paths)

    def fetch(self, rows: IntArray) -> tuple[AnyArray, ...]:
        """Read pictures by number."""
        with ThreadPoolExecutor(min(8, allowed_cores())) as pool:
            pixels = np.stack(list(pool.map(self._pixels, rows.tolist())))
        if self._picture.layout == "nchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        axis = 1 if self._picture.layout == "nchw" else 3
        values = normalise_pixels(pixels, self._preprocess, axis) if self._preprocess.changes_values else pixels
        return (np.ascontiguousarray(values, self._dtype),)

    def name(self, row: int) -> str:
        """Return the file of a picture."""
        return str(self._paths[row])

    def check(self, rows: IntArray) -> None:
        """Decode pictures, so that one that breaks off is found before hours of work; they stay in memory as always.

        Raises:
            DataError: One cannot be read; it names the file.
        """
        with ThreadPoolExecutor(min(8, allowed_cores())) as pool:
            for _ in pool.map(self._pixels if self._keep else self._decode, rows.tolist()):
                pass

    def _decode(self, row: int) -> None:
        try:
            with Image.open(self._paths[row]) as image:
                # A JPEG is read to its end at an eighth of its size, too.
                image.draft(None, (1, 1))
                image.load()
        except _DAMAGED as error:
            raise unreadable(self._paths[row], error) from error

    def _pixels(self, row: int) -> AnyArray:
        """Return one picture, cut to size, shape (height, width, channels), uint8."""
        if row in self._cache:
            return self._cache[row]
        pixels = read_picture(self._paths[row], self._picture, self._preprocess)
        if self._keep:
            self._cache[row] = pixels
        return pixels


def read_picture(path: Path, picture: PictureShape, preprocess: Preprocess) -> AnyArray:
    """Decode a picture in the model's colours, resized and cut to its size.

    Returns:
        Pixels, shape (height, width, channels), uint8.

    Raises:
        DataError: The file cannot be decoded, or the resized picture is smaller than the input.
    """
    try:
        with Image.open(path) as opened:
            image = _coloured(opened, picture.channels, preprocess)
    except _DAMAGED as error:
        raise unreadable(path, error) from error
    width, height = _resized(image.width, image.height, picture, preprocess)
    if width < picture.width or height < picture.height:
        raise DataError(
            f"preprocess: size {preprocess.size} makes '{path}' {height} x {width} pixels, smaller than the "
            f"model's {picture.height} x {picture.width}"
        )
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - picture.width) / 2), round((height - picture.height) / 2)
    image = image.crop((left, top, left + picture.width, top + picture.height))
    pixels = np.asarray(image).reshape(picture.height, picture.width, picture.channels)
    return pixels[:, :, ::-1] if preprocess.color == "bgr" and picture.channels == 3 else pixels


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error of a picture that cannot be read."""
    return DataError(f"cannot read the picture '{path}': {error}; replace or remove it")


def _coloured(image: Image.Image, channels: int, preprocess: Preprocess) -> Image.Image:
    """Convert to as many channels as the model reads; opacity is dropped, 16 bits a pixel become 8."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if preprocess.color == "grey":
        image = image.convert("L")
    return image.convert(_MODES[channels])


def _resized(width: int, height: int, picture: PictureShape, preprocess: Preprocess) -> tuple[int, int]:
    """Return width and height that a picture is resized to before the centre is cut out."""
    if isinstance(preprocess.size, tuple):
        return preprocess.size[1], preprocess.size[0]
    if preprocess.size is None:
        factor = max(picture.width / width, picture.height / height) / preprocess.crop
    else:
        factor = preprocess.size / min(width, height)
    return round(width * factor), round(height * factor)


def check_pictures(data: Dataset) -> None:
    """Decode a dataset's pictures, where it has such, and refuse those that cannot be.

    Raises:
        DataError: One cannot be read; it names the file.
    """
    if isinstance(data.source, ImageFolder):
        data.source.check(data.rows)


def read_image_folder(
    folder: Path,
    wanted: ModelInputs,
    classes: Sequence[str] | None = None,
) -> dict[str, Dataset]:
    """Read a folder of pictures.

    Subfolders are classes, numbered in the order of a `classes.txt` in the folder (a name a line), else by
    their names where those are numbers, else alphabetically. Subfolders named train, val and test are parts
    instead. A folder with pictures of its own, or with a single subfolder, is unlabelled.

    Args:
        folder: The folder; it is searched at any depth.
        wanted: What the model takes; without preprocessing, pixels are scaled to 0..1.
        classes: Class names by number, where another part of the data has fixed them.

    Returns:
        Datasets by part: "all", or those of "train", "val" and "test" that the folder has.

    Raises:
        DataError: No picture, an unreadable one, a class that `classes` lacks, or an input that takes no
            pictures.
    """
    parts = _part_folders(folder)
    if not parts:
        return {"all": _folder_dataset(folder, wanted, classes)}
    read: dict[str, Dataset] = {}
    for part, subfolder in parts.items():
        known = classes or (read["train"].classes if "train" in read else None) or _named_classes(folder)
        read[part] = _folder_dataset(subfolder, wanted, known)
    return read


def _part_folders(folder: Path) -> dict[str, Path]:
    """Find train, val and test below a folder, train first; none where folders are classes, train maybe among them.

    Raises:
        DataError: There are such parts, and pictures in other folders beside them, or two folders for one part; or the
            folder cannot be read.
    """
    try:
        below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(f"the folder '{folder}' cannot be read: {error.strerror or error}") from error
    named = [(PARTS[p.name.lower()], p) for p in below if p.name.lower() in PARTS]
    parts = dict(named)
    if "train" not in parts or (len(parts) == 1 and len(below) > 1):
        return {}
    others = [p.name for part, p in named if parts[part] != p]
    others += [p.name for p in below if p.name.lower() not in PARTS and next(picture_files(p), None) is not None]
    if others:
        raise DataError(
            f"folder '{folder}' has the parts {', '.join(sorted(p.name for p in parts.values()))}, and pictures in "
            f"'{others[0]}' beside them: move that away, or give the parts by --data, --val and --test"
        )
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _folder_dataset(folder: Path, wanted: ModelInputs, classes: Sequence[str] | None) -> Dataset:
    origin = f"folder '{folder}'"
    spec = _picture_input(wanted, origin)
    chosen = wanted.preprocess or (PRESETS["unit"] if is_float(spec) else PRESETS["none"])
    if chosen.changes_values and not is_float(spec):
        raise DataError(no_arithmetic(spec))
    picture = _checked_picture(wanted.sample(spec), chosen, spec, origin)
    paths, left_out = _pictures(folder)
    _check_readable(paths)
    named = classes or _named_classes(folder)
    labels, names, notes = _labels(folder, paths, named)
    notes = (*notes, *left_out)
    if wanted.preprocess is None and chosen.changes_values:
        notes = (*notes, UNIT_ASSUMED.format(origin=origin))
    source = ImageFolder(paths, picture, chosen, spec.dtype)
    return Dataset(source, np.arange(len(paths)), labels, names, origin=origin, notes=notes)


def _picture_input(wanted: ModelInputs, origin: str) -> InputSpec:
    if len(wanted.specs) != 1 or len(wanted.sample(wanted.specs[0])) != 3:
        takes = ", ".join(f"'{spec.name}' {shown(wanted.shapes[spec.name])}" for spec in wanted.specs)
        raise DataError(
            f"{origin} holds pictures, but the model takes {takes}; a folder serves models with one picture "
            "input (four axes). Use an .npz with an array for each input, or package.module:function"
        )
    return wanted.specs[0]


def _checked_picture(sample: tuple[int, ...], preprocess: Preprocess, spec: InputSpec, origin: str) -> PictureShape:
    picture = picture_shape(sample, preprocess.layout)
    if picture.channels not in _MODES:
        raise DataError(
            f"{origin}: input '{spec.name}' takes {shown(('N', *sample))}: {picture.channels} channels, read "
            f"as {picture.layout}; pictures have 1, 3 or 4 (say layout in --preprocess if that is wrong)"
        )
    check_channel_counts(preprocess, picture.channels, spec.name)
    return picture


def _pictures(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """List the pictures at any depth, sorted, and say how many of other kinds are left out."""
    known = list(picture_files(folder, SUFFIXES | _OTHER_SUFFIXES))
    found = sorted(path for path in known if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(
            f"folder '{folder}' holds no pictures ({', '.join(sorted(SUFFIXES))}, at any depth); "
            "check the path given to --data"
        )
    others = [path.suffix.lower() for path in known if path.suffix.lower() not in SUFFIXES]
    if not others:
        return found, ()
    kinds = ", ".join(sorted(set(others)))
    return found, (f"folder '{folder}': files of kinds that are not read ({kinds}): {len(others)}",)


def picture_files(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> Iterator[Path]:
    """Yield the pictures at any depth; hidden files and folders are left out."""
    for base, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _encloses(Path(base, name), base)]
        names = (n for n in files if not n.startswith(".") and Path(n).suffix.lower() in suffixes)
        yield from (Path(base, name) for name in names)


def _encloses(folder: Path, base: str) -> bool:
    """Whether a folder is a link to one that it lies in, which has no end."""
    return folder.is_symlink() and Path(base).resolve().is_relative_to(folder.resolve())


def _check_readable(paths: Sequence[Path]) -> None:
    """Read every header; `check_pictures` decodes what a run will read."""
    for path in paths:
        try:
            with Image.open(path):
                pass
        except _DAMAGED as error:
            raise unreadable(path, error) from error


def _named_classes(folder: Path) -> tuple[str, ...] | None:
    listed = folder / CLASS_FILE
    if not listed.is_file():
        return None
    try:
        # With a byte order mark, as editors on Windows write it, or without.
        lines = listed.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"the class names in '{listed}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the class names in '{listed}' cannot be read as UTF-8: {error}; save it as UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"'{listed}' names the class '{twice[0]}' twice; a class has one number")
    return names


def _labels(
    folder: Path, paths: Sequence[Path], classes: Sequence[str] | None
) -> tuple[IntArray | None, tuple[str, ...] | None, tuple[str, ...]]:
    """Read labels off the first folder below `folder`: class numbers, class names, notes."""
    below = [path.relative_to(folder).parts for path in paths]
    if any(len(parts) == 1 for parts in below):
        mixed = any(len(parts) > 1 for parts in below)
        note = f"folder '{folder}' has pictures beside its subfolders: it is taken as unlabelled"
        return None, None, (note,) if mixed else ()
    names = sorted({parts[0] for parts in below})
    if len(names) == 1 and classes is None:
        return None, None, (f"folder '{folder}' has one subfolder only: it is taken as unlabelled",)
    known = tuple(classes) if classes is not None else _by_number(_with_pictures(folder, names))
    numbers = {name: number for number, name in enumerate(known)}
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise DataError(
            f"folder '{folder}' has the class '{unknown[0]}', which is not among the known ones: "
            f"{', '.join(known[:10])}{', ...' if len(known) > 10 else ''}"
        )
    return np.array([numbers[parts[0]] for parts in below], np.int64), known, ()


def _with_pictures(folder: Path, names: Sequence[str]) -> Sequence[str]:
    """Refuse class folders that hold no pictures: the classes after them would have other numbers than they think.

    Raises:
        DataError: There is one, and the names are not numbers themselves.
    """
    below = (p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    empty = sorted(name for name in below if name not in names)
    if empty and not all(name.isdecimal() for name in (*names, *empty)):
        raise DataError(
            f"folder '{folder}' has the subfolder '{empty[0]}' without pictures ({', '.join(sorted(SUFFIXES))}): is it "
            f"a class? Remove it, or list the classes, a name a line, in '{folder / CLASS_FILE}'"
        )
    return names


def _by_number(names: Sequence[str]) -> tuple[str, ...]:
    """Order class names: alphabetically, or, where all are numbers, each at its own number."""
    if not all(name.isdecimal() for name in names):
        return tuple(names)
    by_number = {int(name): name for name in names}
    if len(by_number) < len(names) or max(by_number) > 10**5:
        return tuple(names)
    return tuple(by_number.get(number, str(number)) for number in range(max(by_number) + 1))
