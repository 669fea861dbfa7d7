"""Devices by name, from `onnxprune.toml` in the working directory or one above it.

[devices.pi]
spec = "ssh://pi@10.0.0.7?python=~/venv/bin/python&threads=2"
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from onnxprune.errors import DeviceError

FILE_NAME = "onnxprune.toml"
"""Name of the file."""


class _Device(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    spec: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    devices: dict[str, _Device] = {}


def spec_of(name: str, folder: Path | None = None) -> str:
    """Return the spec of a named device.

    Args:
        name: Its name.
        folder: Where the file is looked for first; None: the working directory.

    Raises:
        DeviceError: There is no file, it cannot be read, or it names no such device.
    """
    start = (folder or Path.cwd()).absolute()
    path = next((where / FILE_NAME for where in (start, *start.parents) if (where / FILE_NAME).is_file()), None)
    if path is None:
        raise DeviceError(
            f"'{name}' is neither 'local' nor ssh://..., and there is no {FILE_NAME} in '{start}' or above that could "
            "name it"
        )
    devices = _read(path).devices
    if name not in devices:
        near = difflib.get_close_matches(name, devices, 1)
        meant = f"did you mean '{near[0]}'? " if near else ""
        known = ", ".join(devices) or "none"
        raise DeviceError(f"no device is called '{name}'; {meant}'{path}' names {known}")
    return devices[name].spec


def _read(path: Path) -> _File:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        # A table written twice is such an error, too.
        raise DeviceError(f"'{path}' is no valid TOML, or names a device or key twice: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"cannot read '{path}': {error}") from error
    try:
        return _File.model_validate(data)
    except ValidationError as error:
        raise DeviceError(f"'{path}': {'; '.join(_problem(one) for one in error.errors())}") from error


def _problem(error: object) -> str:
    assert isinstance(error, dict)
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    return f"key '{key}': {error['msg']}"
