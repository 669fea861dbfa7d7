"""Devices as they are written: `local?threads=4`, `ssh://pi@host?python=~/venv/bin/python`, or a name.

local[?KEY=VALUE&...]             keys: provider, provider.OPTION, threads
ssh://[USER@]HOST[:PORT][?...]    keys: those, and python, folder, config, timeout
NAME                              of `onnxprune.toml`; see `named`
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from onnxprune.errors import DeviceError
from onnxprune.latency.named import spec_of
from onnxprune.latency.providers import provider_name
from onnxprune.latency.remote.ssh import Target

_KEYS = {
    "local": ("provider", "threads"),
    "ssh": ("provider", "threads", "python", "folder", "config", "timeout"),
}
_OPTION = "provider."
_ADDRESS = re.compile(r"(?:(?P<user>[^@/]*)@)?(?P<host>\[[^\]]*\]|[^:/\[\]]*)(?::(?P<port>[^/]*))?/?")


@dataclass(frozen=True)
class DeviceSpec:
    """A device and how it is used.

    Attributes:
        text: As it was written, a name resolved.
        target: Where to; None: this machine.
        provider: Execution provider; None: not said.
        provider_options: Options of the provider, as (name, value).
        threads: Threads inside an operator; None: not said.
    """

    text: str
    target: Target | None = None
    provider: str | None = None
    provider_options: tuple[tuple[str, str], ...] = ()
    threads: int | None = None


def named_spec(text: str, file: Path | None = None) -> str:
    """Return what a name stands for, and a spec as it is.

    Args:
        text: A device as it is written.
        file: The `onnxprune.toml`; None: the nearest.

    Raises:
        ConfigError: The file cannot be read, or says what it may not.
        DeviceError: No device is called so.
    """
    return text if is_spec(text) else spec_of(text, file=file)


def read_spec(text: str, *, must_exist: bool = True) -> DeviceSpec:
    """Read a device.

    Args:
        text: A device as it is written.
        must_exist: Whether a file that it names must be there.

    Raises:
        ConfigError: It is a name, and `onnxprune.toml` cannot be read or says what it may not.
        DeviceError: It cannot be understood, no device is called so, or the file is missing.
    """
    text = named_spec(text)
    place, _, query = text.partition("?")
    kind = "ssh" if place.startswith("ssh://") else place
    if kind not in _KEYS:
        raise DeviceError(f"device '{text}' cannot be understood; write local or ssh://user@host:port?key=value")
    values = _values(text, kind, query)
    options = {key.removeprefix(_OPTION): value for key, value in values.items() if key.startswith(_OPTION)}
    if must_exist:
        _check_config(text, values.get("config"))
    provider = values.get("provider")
    if provider is not None:
        provider_name(provider)
    return DeviceSpec(
        text=text,
        target=_target(text, place.removeprefix("ssh://"), values) if kind == "ssh" else None,
        provider=provider,
        provider_options=tuple(sorted(options.items())),
        threads=_number(text, "threads", values["threads"]) if "threads" in values else None,
    )


def is_spec(text: str) -> bool:
    """Say whether it is a device rather than the name of one."""
    return text.partition("?")[0] == "local" or "://" in text


def _values(text: str, kind: str, query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not (equals and value):
            raise DeviceError(f"device '{text}': '{part}' is no KEY=VALUE")
        if key in values:
            raise DeviceError(f"device '{text}': '{key}' is given twice")
        if key not in _KEYS[kind] and not (key.startswith(_OPTION) and len(key) > len(_OPTION)):
            near = difflib.get_close_matches(key, _KEYS[kind], 1)
            meant = f"did you mean '{near[0]}'? " if near else ""
            raise DeviceError(
                f"device '{text}': unknown key '{key}'; {meant}known are {', '.join(_KEYS[kind])} and provider.OPTION"
            )
        values[key] = unquote(value)
    return values


def _target(text: str, address: str, values: Mapping[str, str]) -> Target:
    match = _ADDRESS.fullmatch(address)
    if "://" in address or match is None:
        raise DeviceError(f"device '{text}' cannot be understood; write ssh://user@host:port?key=value")
    if ":" in (match["user"] or ""):
        raise DeviceError("a device must hold no password; use a key, and put it there with 'ssh-copy-id'")
    config = values.get("config")
    return Target(
        host=match["host"],
        user=match["user"],
        port=_number(text, "port", match["port"]) if match["port"] else None,
        python=values.get("python", "python3"),
        folder=values.get("folder"),
        config=str(Path(config).expanduser()) if config is not None else None,
        limit_s=float(_number(text, "timeout", values.get("timeout", "600"))),
    )


def _check_config(text: str, config: str | None) -> None:
    if config is not None and not Path(config).expanduser().is_file():
        raise DeviceError(f"device '{text}': there is no file '{config}'")


def _number(text: str, key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise DeviceError(f"device '{text}': {key} must be a whole number of at least 1, not '{value}'")
    return int(value)
