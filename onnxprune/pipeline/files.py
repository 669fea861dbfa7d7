"""What is read and what is written: no result may overwrite what a command reads, nor another result."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from onnxprune.errors import ModelError, OutputError
from onnxprune.graph import external_files, is_device, path_kind
from onnxprune.training.images import SUFFIXES

_MODELS = {"model": "MODEL", "models": "MODEL", "first": "FIRST", "second": "SECOND"}
_READ = {
    **_MODELS,
    "data": "--data",
    "val": "--val",
    "test": "--test",
    "preprocess": "--preprocess",
    "ratios": "--ratios",
    "compare": "--compare",
    "config": "--config",
    "source": "REPORT",
    "directory": "DIR",
}
_WRITTEN = {
    "output": "--output",
    "rejected": "--output (its *.rejected.onnx)",
    "output_dir": "--output-dir",
    "report": "--report",
    "run_dir": "--run-dir",
    "summary": "--summary",
    "junit": "--junit",
    "outputs": "--outputs",
    "svg": "--svg",
    "html": "--html",
    "plot": "--plot",
    "pictures": "--pictures",
}
_PICTURES = tuple(f"*{suffix}" for suffix in sorted(SUFFIXES))
_RUN = ("run.json", "report.json", "history.jsonl", "lock", "int8.onnx", "int8-original.onnx", "stage-*/*")
_HELD = {
    **dict.fromkeys(("data", "val", "test"), _PICTURES),
    **dict.fromkeys(("source", "directory"), (*_RUN, "*.report.json", "*.onnx")),
    "run_dir": _RUN,
}


@dataclass(frozen=True)
class _Place:
    """A path and the option that names it.

    Attributes:
        option: The option, or the argument.
        path: The path.
        held: Patterns of the files that are read or written in it, where it is a folder.
    """

    option: str
    path: Path
    held: tuple[str, ...] = ()

    def meets(self, other: _Place) -> bool:
        """Whether both are one file, or the one is a file of the other."""
        return _same(self.path, other.path) or self._holds(other.path) or other._holds(self.path)

    def _holds(self, path: Path) -> bool:
        inside, folder = _real(path), _real(self.path)
        return folder in inside.parents and any(inside.relative_to(folder).match(pattern) for pattern in self.held)


def check_files(arguments: Mapping[str, object]) -> None:
    """Refuse arguments that would have a result overwrite what is read, or another result.

    Args:
        arguments: Arguments of a command by name; those that are no paths do not matter.

    Raises:
        OutputError: Names both options.
    """
    read = [*_places(arguments, _READ), *_weights(arguments)]
    written = list(_places(_completed(arguments), _WRITTEN))
    for output in written:
        for source in read:
            if path_kind(output.path) and path_kind(source.path) and output.meets(source):
                raise OutputError(
                    f"{output.option} '{output.path}' would overwrite {_said(source, output)}, which is never changed; "
                    f"give another {_plain(output)}"
                )
    for first, second in combinations(written, 2):
        if first.meets(second):
            raise OutputError(
                f"{first.option} '{first.path}' and {second.option} '{second.path}' would overwrite each other; give "
                f"another {_plain(second)}"
            )


def _places(arguments: Mapping[str, object], named: Mapping[str, str]) -> Iterator[_Place]:
    for name, option in named.items():
        value = arguments.get(name)
        for path in value if isinstance(value, list | tuple) else (value,):
            if isinstance(path, str | Path):
                yield _Place(option, Path(path), _HELD.get(name, ()))


def _weights(arguments: Mapping[str, object]) -> Iterator[_Place]:
    """Return the files beside models that hold their weights."""
    for model in _places(arguments, _MODELS):
        # What cannot be read is refused with its reason where it is read.
        try:
            files = external_files(model.path) if path_kind(model.path) == "file" else ()
        except ModelError:
            continue
        for file in files:
            yield _Place(f"the weights of {model.option}", file)


def _completed(arguments: Mapping[str, object]) -> Mapping[str, object]:
    """Return arguments with the results that are written though nobody named them."""
    model, output = arguments.get("model"), arguments.get("output")
    if "output" in arguments and output is None and isinstance(model, str | Path):
        output = default_output(Path(model))
    if arguments.get("max_drop") is None or not isinstance(output, str | Path):
        return {**arguments, "output": output}
    return {**arguments, "output": output, "rejected": rejected_output(Path(output))}


def default_output(model: Path) -> Path:
    """Return where a result goes that was given no place: `model.pruned.onnx` beside `model.onnx`."""
    return _beside(model, "pruned.onnx")


def default_report(output: Path) -> Path:
    """Return where the record of a result goes that was given no place: `out.report.json` beside `out.onnx`."""
    return _beside(output, "report.json")


def rejected_output(output: Path) -> Path:
    """Return where a result goes that lost more than it may."""
    return _beside(output, "rejected.onnx")


def _beside(path: Path, ending: str) -> Path:
    # Not with_name(): "." and "/" have no name, and are refused where they are read or written.
    return path.parent / f"{path.stem}.{ending}"


def _said(source: _Place, output: _Place) -> str:
    where = "" if str(source.path) == str(output.path) else f" '{source.path}'"
    inside = "a file of " if source.held and not _same(source.path, output.path) else ""
    return f"{inside}{source.option}{where}"


def _plain(place: _Place) -> str:
    return place.option.split(" ")[0]


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _same(first: Path, second: Path) -> bool:
    """Whether two paths are one file; devices such as /dev/null take anything, from anyone."""
    if is_device(first):
        return False
    if path_kind(first) and path_kind(second):
        return first.samefile(second)
    return _real(first) == _real(second)
