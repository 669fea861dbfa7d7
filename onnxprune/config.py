"""`onnxprune.toml`: found, read, and refused with the file, the line and the key.

[devices.pi]
spec = "ssh://pi@10.0.0.7?python=~/venv/bin/python&threads=2"

[compress]
target-latency = "10ms"
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from onnxprune.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    Model = TypeVar("Model", bound=BaseModel)

FILE_NAME = "onnxprune.toml"
"""Name of the file."""

COMMANDS = ("compress", "prune", "plot", "report", "inspect", "bench", "profile", "compare")
"""The commands whose options may have defaults in the file."""

_HEADER = re.compile(r"\[+([^\[\]]+)\]+\s*(?:#.*)?")
_KEY = re.compile(r"""((?:"[^"]*"|'[^']*'|[\w.\s-])+?)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")
# Where pydantic's own words are about Python.
_PLAIN = {"missing": "is missing", "model_type": "must be a table, [NAME] with KEY = VALUE below"}
_PLAIN |= {"dict_type": _PLAIN["model_type"]}
_LINE = re.compile(r"\(at line (\d+), ")
_TWICE = re.compile(r"Cannot declare \((.*)\) twice")
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")

# What pydantic calls the place of a name.
_OF_A_KEY = "[key]"
# Closer than difflib's own 0.6, at which 'stages' would be taken for 'test'.
_CLOSE = 0.7


@dataclass(frozen=True)
class ConfigFile:
    """A file that is TOML, whatever it says.

    Attributes:
        path: Where it is, absolute.
        text: Its text.
        content: What it says.
    """

    path: Path
    text: str
    content: dict[str, Any]

    def checked(self, model: type[Model]) -> Model:
        """Return what the file says as a model.

        Raises:
            ConfigError: It does not fit; the message names lines and keys.
        """
        from pydantic import ValidationError

        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            raise ConfigError(f"'{self.path}': {'; '.join(self._problems(model, error))}") from error

    def line_of(self, keys: Sequence[str]) -> int | None:
        """Return the line that a key stands in, from 1, or that of the table it belongs to; None: it was not found.

        Of a table whose own line is not there, [a] where there is [a.b], it is the first below.
        """
        table: tuple[str, ...] = ()
        deepest, found, below = 0, None, None
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := _HEADER.fullmatch(line.strip()):
                here = table = _parts(header[1])
            elif key := _KEY.match(line.strip()):
                here = (*table, *_parts(key[1]))
            else:
                continue
            if deepest < len(here) <= len(keys) and here == tuple(keys[: len(here)]):
                deepest, found = len(here), number
            elif below is None and len(here) > len(keys) > 0 and here[: len(keys)] == tuple(keys):
                below = number
        return found or below

    def _problems(self, model: type[BaseModel], error: ValidationError) -> list[str]:
        problems: list[tuple[int, str]] = []
        for one in error.errors():
            keys = [part for part in one["loc"] if isinstance(part, str) and part != _OF_A_KEY]
            line = self.line_of(keys)
            what = f"key '{'.'.join(keys)}': {_PLAIN.get(one['type'], one['msg'])}"
            if one["type"] == "extra_forbidden":
                what = f"unknown key '{'.'.join(keys)}'; {_meant(keys[-1], _known(model, keys[:-1]))}"
            problems.append((line or 0, what if line is None else f"line {line}: {what}"))
        return [what for _, what in sorted(problems)]


def find_config(folder: Path | None = None) -> Path | None:
    """Return the file in a folder or the nearest above it that has one.

    Args:
        folder: Where to begin; None: the working directory.
    """
    start = (folder or Path.cwd()).absolute()
    return next((where / FILE_NAME for where in (start, *start.parents) if (where / FILE_NAME).is_file()), None)


def read_config(path: Path) -> ConfigFile:
    """Read a file.

    Raises:
        ConfigError: It cannot be read, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read '{path}': it is not UTF-8 ({error})") from error
    try:
        return ConfigFile(path.absolute(), text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"'{path}'{_no_toml(str(error))}") from error


def _no_toml(reason: str) -> str:
    """Say why a text is no TOML; what stands there twice is such an error, too."""
    line = f": line {found[1]}" if (found := _LINE.search(reason)) else ""
    if twice := _TWICE.match(reason):
        keys = [key or other for key, other in _QUOTED.findall(twice[1])]
        if len(keys) == 2 and keys[0] == "devices":
            return f"{line}: a second device is called '{keys[1]}'; give one another name"
        return f"{line}: the table [{'.'.join(keys)}] is there twice; make them one"
    if reason.startswith("Cannot overwrite a value"):
        return f"{line}: the key is given twice"
    return f" is no valid TOML: {reason}"


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple("".join(part) for part in _PART.findall(dotted))


def _known(model: Any, keys: Sequence[str]) -> list[str]:
    """Return the keys that a model has at a place."""
    for key in keys:
        fields = _fields(model)
        # A table with free names says of all of them what each is.
        model = fields[key].annotation if fields else get_args(model)[-1]
    return list(_fields(model))


def _fields(model: Any) -> dict[str, Any]:
    return {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}


def _meant(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, 1, _CLOSE)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
