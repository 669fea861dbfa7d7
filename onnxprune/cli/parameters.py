"""Values as they are typed: `10ms`, `60%`, `500M`, `3MB`, `5m`, `image:1x3x224x224`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import click

CONFIG_FILE = "onnxprune.config"
"""Where the context keeps the path of `onnxprune.toml`, if there is one."""

# What cannot be read is the library's to say: with exit code 1, and in what is written for CI systems.
PATH = click.Path(path_type=Path, readable=False)
"""A path."""

TYPED_PATH = click.Path(readable=False)
"""A path, passed on as typed."""

_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)\s*(s|m|min|h)", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class TargetType(click.ParamType[str]):
    """A target: checked here, so that nonsense ends before the model is read, and passed on as typed."""

    def __init__(self, kind: Literal["latency", "macs", "params", "size"]) -> None:
        """Make the type for targets of one kind."""
        self.kind = kind
        self.name = {"latency": "time", "macs": "count", "params": "count", "size": "bytes"}[kind]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a target."""
        from onnxprune.errors import TargetError
        from onnxprune.search import target

        try:
            if self.kind == "latency":
                target.parse_latency(value)
            elif self.kind == "size":
                target.parse_size(value)
            else:
                target.parse_count(value, self.kind)
        except TargetError as error:
            self.fail(str(error), param, ctx)
        return value


class SearchBudgetType(click.ParamType[str]):
    """A number of structures or a time: checked here, and passed on as typed."""

    name = "N|time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a search budget."""
        from onnxprune.errors import TargetError
        from onnxprune.search import search_budget

        try:
            search_budget(value)
        except TargetError as error:
            self.fail(str(error), param, ctx)
        return value


class DeviceType(click.ParamType[str]):
    """A device: checked here, as far as it can be without reaching it; a name becomes what it stands for."""

    name = "spec"

    def __init__(self, *, must_exist: bool = True) -> None:
        """Make the type of devices whose files must be there, or need not."""
        self.must_exist = must_exist

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a device."""
        from onnxprune.errors import DeviceError

        if value == "local":
            return value
        from onnxprune.latency.spec import named_spec, read_spec

        try:
            value = named_spec(value, None if ctx is None else ctx.meta.get(CONFIG_FILE))
            read_spec(value, must_exist=self.must_exist)
        except DeviceError as error:
            self.fail(str(error), param, ctx)
        return value


class ProviderType(click.ParamType[str]):
    """An execution provider: its name is checked here, and passed on as typed; whether it works shows on the device."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a provider's name."""
        from onnxprune.errors import DeviceError
        from onnxprune.latency.providers import provider_name

        try:
            provider_name(value)
        except DeviceError as error:
            self.fail(str(error), param, ctx)
        return value


class DurationType(click.ParamType[float]):
    """A time as `90s`, `5m` or `1h`, in seconds."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a time."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(value.strip())
        seconds = float(match[1]) * _SECONDS[match[2].lower()] if match else 0.0
        if seconds <= 0:
            self.fail(f"'{value}' is no time above 0; write it like '90s', '5m' or '1h'", param, ctx)
        return seconds


class FiniteRange(click.FloatRange):
    """A number in a range without an end, which takes neither `inf` nor `nan`: neither can stand in a record."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"'{value}' is no finite number", param, ctx)
        return number


class ShareType(click.ParamType[float]):
    """A share as `5%`, as a number: 0.05."""

    name = "percent"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a share."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*%", value.strip())
        if match is None:
            self.fail(f"'{value}' is no percentage of at least 0; write it like '5%' or '2.5%'", param, ctx)
        return float(match[1]) / 100


class InputShapeType(click.ParamType[tuple[str, tuple[int, ...]]]):
    """Sizes of an input as `NAME:1x3x224x224`; `?` leaves a size as the model declares it.

    The result is the name, empty where it is left out, and the sizes, 0 for `?`.
    """

    name = "shape"

    def convert(
        self,
        value: str | tuple[str, tuple[int, ...]],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, tuple[int, ...]]:
        """Read the sizes of an input."""
        if isinstance(value, tuple):
            return value
        # Names such as 'serving_default_input:0' hold colons themselves.
        name, _, sizes = value.rpartition(":")
        parts = re.split("[x,]", sizes.strip().lower())
        if not all(part == "?" or (part.isdecimal() and int(part) > 0) for part in parts):
            self.fail(
                f"'{value}' is no input size; write it like 'image:1x3x224x224', or '1x3x224x224' where the "
                "model has one input",
                param,
                ctx,
            )
        return name, tuple(0 if part == "?" else int(part) for part in parts)


class StagesType(click.ParamType["int | str"]):
    """A number of stages, or `auto`."""

    name = "N|auto"

    def convert(self, value: int | str, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read it."""
        if value == "auto":
            return "auto"
        if not (str(value).isdecimal() and int(value) > 0):
            self.fail(f"'{value}' is neither a number from 1 nor 'auto'", param, ctx)
        return int(value)
