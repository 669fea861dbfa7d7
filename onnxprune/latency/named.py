"""Devices by name, from `onnxprune.toml` in the working directory or one above it.

[devices.pi]
spec = "ssh://pi@10.0.0.7?python=~/venv/bin/python&threads=2"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, create_model
from pydantic_core import PydanticCustomError

from onnxprune.config import COMMANDS, FILE_NAME, find_config, read_config
from onnxprune.errors import DeviceError

_CONFIG, _LOCAL = "config=", "local"


def _callable(name: str) -> str:
    """Refuse a name that would mean something else on the command line."""
    if name.partition("?")[0] == _LOCAL or "://" in name:
        raise PydanticCustomError("name", "no device can be called so, which means something else")
    return name


def _understood(spec: str) -> str:
    """Refuse what is no device; a file that it names need not be there for who does not use it."""
    from onnxprune.latency.spec import is_spec, read_spec

    try:
        if not is_spec(spec):
            raise DeviceError(f"'{spec}' is neither local nor ssh://...")
        read_spec(spec, must_exist=False)
    except DeviceError as error:
        raise PydanticCustomError("spec", "{message}", {"message": str(error)}) from None
    return spec


class Device(BaseModel):
    """A device of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    spec: Annotated[str, AfterValidator(_understood)]


class Devices(BaseModel):
    """All devices of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    devices: dict[Annotated[str, AfterValidator(_callable)], Device] = {}


# What the commands' tables say is checked where the options are known.
_TABLES: dict[str, Any] = {name: (JsonValue, None) for name in COMMANDS}
_File = create_model("_File", __base__=Devices, **_TABLES)


def spec_of(name: str, folder: Path | None = None, file: Path | None = None) -> str:
    """Return the spec of a named device.

    Args:
        name: Its name.
        folder: Where the file is looked for first; None: the working directory.
        file: The file, where it is not to be looked for.

    Raises:
        ConfigError: The file cannot be read, or says what it may not.
        DeviceError: There is no file, or it names no such device.
    """
    path = file or find_config(folder)
    if path is None:
        raise DeviceError(
            f"'{name}' is neither 'local' nor ssh://...; {_meant(name, ())}there is no {FILE_NAME} in "
            f"'{(folder or Path.cwd()).absolute()}' or above that could name it"
        )
    config = read_config(path)
    devices = config.checked(_File).devices
    if name not in devices:
        known = ", ".join(devices) or "no devices"
        raise DeviceError(f"no device is called '{name}'; {_meant(name, devices)}'{path}' names {known}")
    return anchored(devices[name].spec, config.path.parent)


def _meant(name: str, devices: Iterable[str]) -> str:
    """Guess what was to be typed."""
    if "@" in name:
        return f"did you mean 'ssh://{name}'? "
    lower = {device.lower(): device for device in (_LOCAL, *devices)}
    near = difflib.get_close_matches(name.lower(), lower, 1)
    return f"did you mean '{lower[near[0]]}'? " if near else ""


def anchored(spec: str, folder: Path) -> str:
    """Make the path of a spec's SSH configuration relative to the folder of the file that names it."""
    place, mark, query = spec.partition("?")
    parts = query.split("&")
    for index, part in enumerate(parts):
        value = unquote(part.removeprefix(_CONFIG))
        if part.startswith(_CONFIG) and not value.startswith("~"):
            parts[index] = _CONFIG + quote(str(folder / value))
    return f"{place}{mark}{'&'.join(parts)}"
