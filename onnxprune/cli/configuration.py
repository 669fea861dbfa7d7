"""Defaults of the commands' options from `onnxprune.toml`, and `--config`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from onnxprune.cli.options import option
from onnxprune.cli.parameters import CONFIG_FILE, PATH, DeviceType
from onnxprune.config import COMMANDS, find_config, read_config

if TYPE_CHECKING:
    from pydantic import BaseModel

_CONFIG = "config"
# Options that hold a path where they hold no name of a function.
_SOURCES = {"data", "val", "test"}


def configurable(command: click.Command) -> click.Command:
    """Let a command take defaults for its options from `onnxprune.toml`, and give it `--config`."""
    if command.name in COMMANDS:
        add = option(
            "Other",
            "--config",
            type=PATH,
            metavar="FILE",
            show_default="onnxprune.toml here or above",
            is_eager=True,
            expose_value=False,
            callback=_configure,
            help="Defaults of these options, and names of devices.",
        )
        add(command)
    return command


def _configure(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    path = value or find_config()
    if path is None or ctx.resilient_parsing:
        return
    ctx.meta[CONFIG_FILE] = path.absolute()
    ctx.default_map = _defaults(path, ctx)


def _defaults(path: Path, ctx: click.Context) -> dict[str, Any]:
    """Return the values that the file has for the running command, by parameter.

    Raises:
        ConfigError: The file cannot be read, or something in it cannot be meant.
    """
    from pydantic import create_model

    from onnxprune.latency.named import Devices

    config = read_config(path)
    root = ctx.find_root().command
    assert isinstance(root, click.Group)
    tables = {name: (_table(command, ctx), None) for name, command in root.commands.items() if name in COMMANDS}
    model = create_model("File", __base__=Devices, **tables)  # type: ignore[call-overload]
    table = getattr(config.checked(model), str(ctx.info_name))
    if table is None:
        return {}
    values = table.model_dump(exclude_unset=True)
    return {
        parameter.name: _anchored(parameter, values[parameter.name], config.path.parent)
        for parameter in ctx.command.params
        if parameter.name in values
    }


def _table(command: click.Command, ctx: click.Context) -> type[BaseModel]:
    """Make the model of a command's table: a field for each option."""
    from pydantic import ConfigDict, Field, create_model

    fields: dict[str, Any] = {}
    for parameter in command.params:
        if parameter.name not in {_CONFIG, None}:
            fields[str(parameter.name)] = (_type(parameter, ctx), Field(default=None, alias=_key(parameter)))
    return create_model(str(command.name), __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _key(parameter: click.Parameter) -> str:
    """Return an option's name as it is typed, without the dashes."""
    return next((name[2:] for name in parameter.opts if name.startswith("--")), str(parameter.name))


def _type(parameter: click.Parameter, ctx: click.Context) -> Any:
    from pydantic import AfterValidator, BeforeValidator

    check = AfterValidator(partial(_check, parameter, ctx))
    if parameter.multiple or parameter.nargs == -1:
        return Annotated[list[str], BeforeValidator(_listed), check]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return bool
    if isinstance(parameter.type, click.types.IntParamType):
        return Annotated[int, check]
    if isinstance(parameter.type, click.types.FloatParamType):
        return Annotated[float, check]
    return Annotated[str, BeforeValidator(_as_typed), check]


def _check(parameter: click.Parameter, ctx: click.Context, value: Any) -> Any:
    """Check a value as it would be on the command line.

    What a device names is not yet anchored here, and need not be there for commands that do not use it: click finds out
    whether it is when it takes the value.
    """
    from pydantic_core import PydanticCustomError

    try:
        if isinstance(parameter.type, DeviceType):
            DeviceType(must_exist=False).convert(value, parameter, ctx)
            return value
        parameter.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise PydanticCustomError("option", "{message}", {"message": error.message}) from None
    return value


def _listed(value: Any) -> Any:
    """Refuse a single text where several may stand."""
    from pydantic_core import PydanticCustomError

    if isinstance(value, str):
        raise PydanticCustomError("list", "must be a list, even of one: {example}", {"example": f'["{value}"]'})
    return value


def _as_typed(value: Any) -> Any:
    """Let numbers stand where the command line takes text: stages = 3."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _anchored(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    """Make a path relative to the folder of the file that names it."""
    if folder == Path.cwd():
        return value
    if isinstance(value, list):
        return [_anchored(parameter, one, folder) for one in value]
    if isinstance(parameter.type, DeviceType):
        from onnxprune.latency.named import anchored

        return anchored(value, folder)
    if isinstance(parameter.type, click.Path) or _is_path(str(parameter.name), value, folder):
        return str(folder / value)
    return value


def _is_path(name: str, value: Any, folder: Path) -> bool:
    """Say whether a source of data or a preprocessing is a path, not a function or a preset."""
    if name == "preprocess":
        return str(value).endswith(".json") or (folder / str(value)).is_file()
    return name in _SOURCES and (":" not in str(value) or (folder / str(value)).exists())
