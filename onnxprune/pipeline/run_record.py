"""What a run was told, as `run.json` keeps it, and whether one that goes on is told the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, JsonValue

from onnxprune.errors import RunDirectoryError
from onnxprune.pipeline.digests import file_digest, weight_digests
from onnxprune.report.environment import Environment
from onnxprune.report.record import Operation, Record

_PUT_BACK = "put the file back as it was, or start a new run with another --run-dir"


class RunRecord(Record):
    """What a run was told; a run that goes on must be told the same.

    Attributes:
        schema_version: Version of this format.
        operation: "compress" or "prune".
        arguments: The command line after `onnxprune`; null where the library was called.
        folder: The folder it was called in.
        model: The model's file.
        model_sha256: Digest of the file.
        weights_sha256: Digest of each file with its weights beside it; null in records of before they were kept.
        data_digests: Digest of each source of data, by "data", "val" and "test", but for functions; null in records of
            before they were kept.
        device: Fingerprint of the device that measures; null in records of before it was kept.
        settings: Every setting that the result depends on, as text.
        started_at: When the run began.
        environment: Software and hardware.
    """

    schema_version: Literal[1] = 1
    operation: Operation
    arguments: tuple[str, ...] | None
    folder: str
    model: str
    model_sha256: str
    weights_sha256: dict[str, str] | None = None
    data_digests: dict[str, str] | None = None
    device: dict[str, JsonValue] | None = None
    settings: dict[str, JsonValue]
    started_at: AwareDatetime
    environment: Environment


def make_record(
    model: Path,
    operation: Operation,
    arguments: tuple[str, ...] | None,
    settings: Mapping[str, JsonValue],
    env: Environment,
    *,
    device: Mapping[str, JsonValue],
    data: Mapping[str, str],
) -> RunRecord:
    """Describe a run that begins now.

    Args:
        model: The model's file.
        operation: What is done to it.
        arguments: The command line after `onnxprune`; None where the library was called.
        settings: Every setting that the result depends on, as text.
        env: Software and hardware here.
        device: Fingerprint of the device that measures.
        data: Digests of its data.
    """
    return RunRecord(
        operation=operation,
        arguments=arguments,
        folder=str(Path.cwd()),
        model=str(model),
        model_sha256=file_digest(model),
        weights_sha256=weight_digests(model),
        data_digests=dict(data),
        device=dict(device),
        settings=dict(settings),
        started_at=dt.datetime.now(dt.UTC),
        environment=env,
    )


def check_same(before: RunRecord, asked: RunRecord, path: Path) -> None:
    """Refuse to go on with another model, other data or other settings.

    Args:
        before: What the run was told when it began.
        asked: What it is told now.
        path: Its directory.

    Raises:
        RunDirectoryError: Something differs, or the model's file cannot be read.
    """
    if before.model_sha256 != asked.model_sha256:
        _check_readable(Path(asked.model), path)
        raise RunDirectoryError(
            f"the run in '{path}' is of another model: '{asked.model}' has changed since it began; {_PUT_BACK}"
        )
    _check_weights(before.weights_sha256, asked, path)
    _check_data(before.data_digests or {}, asked, path)
    for name in sorted(before.settings.keys() | asked.settings.keys()):
        then, now = before.settings.get(name), asked.settings.get(name)
        if then != now:
            raise RunDirectoryError(f"the run in '{path}' was told {name} = {then}, not {now}; a run cannot change")


def _check_readable(file: Path, path: Path) -> None:
    """Tell a file that is gone from one that has changed."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise RunDirectoryError(
            f"the run in '{path}' cannot go on: its model's file '{file}' cannot be read: {error.strerror or error}; "
            "put it back as it was"
        ) from error


def _check_weights(before: Mapping[str, str] | None, asked: RunRecord, path: Path) -> None:
    weights = asked.weights_sha256 or {}
    if before is None or before == weights:
        return
    name = next(name for name in sorted(before.keys() | weights.keys()) if before.get(name) != weights.get(name))
    _check_readable(Path(asked.model).resolve().parent / name, path)
    raise RunDirectoryError(
        f"the run in '{path}' is of another model: its weights in '{name}' beside '{asked.model}' have changed since "
        f"it began; {_PUT_BACK}"
    )


def _check_data(before: Mapping[str, str], asked: RunRecord, path: Path) -> None:
    # A source that is gone, or is none any more, is refused when it is read.
    for name, digest in (asked.data_digests or {}).items():
        kind, then = digest.split()[0], before.get(name, digest)
        if then != digest and then.split()[0] == kind:
            what = "arrays" if kind == "arrays" else f"{kind} '{asked.settings[name]}'"
            raise RunDirectoryError(
                f"the run in '{path}' is of other data: the {what} given as '{name}' changed since it began; put it "
                "back as it was, or start a new run with another --run-dir"
            )
