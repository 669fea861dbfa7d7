"""Samples that a function of the user's gives: `package.module:function`."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxprune.errors import DataError
from onnxprune.training.arrays import LABEL_NAMES, arrays_dataset, class_numbers
from onnxprune.training.dataset import AnyArray, Dataset
from onnxprune.training.layout import ModelInputs, shown

if TYPE_CHECKING:
    from onnxprune.graph import InputSpec

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_LARGEST_BYTES = 8 << 30


def names_function(spec: str) -> bool:
    """Whether `spec` reads package.module:function."""
    return _NAME.fullmatch(spec) is not None


def read_function(
    spec: str | Callable[[], Iterable[Any]],
    wanted: ModelInputs,
) -> Dataset:
    """Read all that a function gives, into memory (8 GiB at most).

    It is called without arguments, the current folder being importable, and returns an iterable of (inputs,
    labels): a list, a generator, a torch DataLoader. `inputs` is one array, or a tuple in the order of the
    model's inputs, or a dict by their names; an array with as many axes as the model's input is a batch, with
    one fewer a sample. `labels` is the class number(s), or None.

    Args:
        spec: The function, or its name.
        wanted: What the model takes.

    Raises:
        DataError: No such function, it fails, or what it gives does not fit.
    """
    origin = spec if isinstance(spec, str) else getattr(spec, "__name__", "data function")
    with current_folder_importable():
        function = find_function(spec) if isinstance(spec, str) else spec
        try:
            items = _collect(_as_items(function(), wanted, origin), wanted, origin)
        except DataError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(f"{origin} failed: {failure(error)}") from error
    return arrays_dataset(items, wanted, origin)


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Let modules of the current folder be imported."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def find_function(spec: str, option: str = "--data") -> Callable[..., Any]:
    """Import the function that `package.module:function` names.

    Args:
        spec: Its name.
        option: What it was given for, as messages say it.

    Raises:
        DataError: There is no such module or function.
    """
    module_name, _, name = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(missing + "."):
            raise DataError(
                f"there is no module '{missing}' for {option} {spec}; run in the folder that holds it, or install it"
            ) from error
        raise DataError(f"module '{module_name}' needs '{missing}', which is not installed") from error
    except (Exception, SystemExit) as error:
        raise DataError(f"module '{module_name}' cannot be imported: {failure(error)}") from error
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    raise DataError(_no_function(module, name))


def failure(error: BaseException) -> str:
    """Say what a user's function failed by; one that would end the process fails like any other."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else repr(error.code)}) (raise an exception instead)"
    return f"{type(error).__name__}: {error}"


def _no_function(module: ModuleType, name: str) -> str:
    """Say what a module has instead of a function of this name."""
    known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    close = difflib.get_close_matches(name, known, n=1)
    functions = ", ".join(known[:10]) or "none"
    if hasattr(module, name):
        kind = type(getattr(module, name)).__name__
        return f"'{name}' of module '{module.__name__}' is no function, but of type '{kind}'; it has {functions}"
    hint = f"did you mean '{module.__name__}:{close[0]}'?" if close else f"it has {functions}"
    return f"module '{module.__name__}' has no function '{name}'; {hint}"


def _collect(items: Iterable[Any], wanted: ModelInputs, origin: str) -> dict[str, AnyArray]:
    """Join samples and batches into one array an input, and the labels."""
    parts: dict[str, list[AnyArray]] = {spec.name: [] for spec in wanted.specs}
    labels: list[AnyArray] = []
    labelled: set[bool] = set()
    size = 0
    for item in items:
        values, label = _split(item, len(wanted.specs))
        if label is None and isinstance(values, Mapping):
            label = next((values[name] for name in LABEL_NAMES if name in values and name not in parts), None)
        arrays = _item_arrays(values, wanted.specs, origin)
        single = arrays[0].ndim == len(wanted.shapes[wanted.specs[0].name]) - 1
        for spec, array in zip(wanted.specs, arrays, strict=True):
            parts[spec.name].append(array[None] if single else array)
            size += array.nbytes
        labelled.add(label is not None)
        if label is not None:
            labels.append(np.asarray(label)[None] if single else np.asarray(label))
        if size > _LARGEST_BYTES:
            raise DataError(f"{origin} gives more than 8 GiB, or does not end; give fewer samples")
    if not labelled:
        raise DataError(f"{origin} gives no samples")
    if len(labelled) > 1:
        raise DataError(f"{origin} gives labels with some samples only; give all of them labels, or None")
    joined = {name: _join(arrays, name, origin) for name, arrays in parts.items()}
    if labels:
        free = "y" if "y" not in joined else "labels"
        together = _join(labels, "labels", origin)
        joined[free] = together if wanted.any_labels else class_numbers(together, f"{origin}: labels")
    return joined


def _split(item: Any, inputs: int) -> tuple[Any, Any]:
    """Tell inputs and labels of an item apart: (inputs, labels), or (a, b, labels) for a model of two inputs."""
    if not isinstance(item, tuple | list):
        return item, None
    if inputs > 1 and len(item) == inputs + 1:
        return tuple(item[:-1]), item[-1]
    return (item[0], item[1]) if len(item) == 2 else (item, None)


def _as_items(given: Any, wanted: ModelInputs, origin: str) -> Iterable[Any]:
    """Take what a function gives as items: a single batch, (inputs, labels) or a dictionary, is one."""
    if given is None:
        raise DataError(f"{origin} returned None; it must return an iterable of (inputs, labels), such as a list")
    rank = len(wanted.shapes[wanted.specs[0].name])
    pair = isinstance(given, tuple) and len(given) == 2 and all(hasattr(one, "shape") for one in given)
    one_batch = pair and given[0].ndim == rank and given[1].ndim < rank and len(given[0]) == len(given[1])
    items: Iterable[Any] = [given] if one_batch or isinstance(given, Mapping) else given
    return items


def _item_arrays(values: Any, inputs: Sequence[InputSpec], origin: str) -> tuple[AnyArray, ...]:
    if isinstance(values, Mapping):
        missing = [spec.name for spec in inputs if spec.name not in values]
        if missing:
            raise DataError(f"{origin} gives {', '.join(map(repr, values))}, but the model also needs '{missing[0]}'")
        return tuple(np.asarray(values[spec.name]) for spec in inputs)
    # A loader of samples without labels gives lists of one array.
    several = isinstance(values, tuple | list) and (len(inputs) > 1 or (len(values) == 1 and np.ndim(values[0]) > 0))
    arrays = tuple(values) if several else (values,)
    if len(arrays) != len(inputs):
        names = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{origin} gives {len(arrays)} array(s) a sample, but the model takes {len(inputs)}: {names}; give "
            "((first, second, ...), labels)"
        )
    return tuple(np.asarray(array) for array in arrays)


def _join(arrays: Sequence[AnyArray], name: str, origin: str) -> AnyArray:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        differ = " and ".join(shown(("N", *shape)) for shape in sorted(shapes)[:2])
        raise DataError(f"{origin} gives '{name}' in different shapes: {differ}")
    return np.concatenate(arrays)
