"""What a run directory's history says of a run, for those who draw it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from onnxprune.errors import RunDirectoryError

HISTORY = "history.jsonl"


@dataclass(frozen=True)
class History:
    """What a run's history says.

    Attributes:
        groups: Names of the groups.
        units: Units of each group in the original, shape (groups,).
        cost: What the original costs, in `unit`.
        unit: Unit of the target.
        looks: Samples of each stage's last look, by its number.
        judged: Judgements, in order.
        evaluated: Single looks of the judge, in order.
        confirmed: Judgements of networks healed to the end.
        sampled: Samples of `rl-pruner`, in order.
        structures: What each stage ended with.
        epochs: Epochs of training, in order.
        metric: Name of the user's own metric; None: there is none.
    """

    groups: tuple[str, ...]
    units: np.ndarray
    cost: float
    unit: str
    looks: dict[int, int]
    judged: tuple[Mapping[str, Any], ...]
    evaluated: tuple[Mapping[str, Any], ...]
    confirmed: tuple[Mapping[str, Any], ...]
    sampled: tuple[Mapping[str, Any], ...]
    structures: tuple[Mapping[str, Any], ...]
    epochs: tuple[Mapping[str, Any], ...]
    metric: str | None = None


class _Line(BaseModel):
    """What a picture needs of a line; others may say more."""

    model_config = ConfigDict(strict=True)


class _Group(_Line):
    name: str
    units: PositiveInt


class _Network(_Line):
    groups: list[_Group]
    cost: FiniteFloat
    unit: str
    metric: str | None = None


class _Looks(_Line):
    stage: int
    samples: list[int] = Field(min_length=1)


class _Units(_Line):
    stage: int
    units: list[int]


class _Structure(_Units):
    cost: FiniteFloat | None = None


class _Confirmation(_Units):
    metric: float | None = None


class _Sample(_Units):
    predicted_cost: FiniteFloat | None = None


class _Evaluation(_Confirmation):
    samples: int


class _Judgement(_Units):
    source: str
    reward: FiniteFloat
    metric: FiniteFloat
    samples: int
    predicted_cost: FiniteFloat


class _Epoch(_Line):
    stage: int
    epoch: int
    val_metric: FiniteFloat | None


_DRAWN: Mapping[str, type[_Line]] = {
    "judgement": _Judgement,
    "evaluation": _Evaluation,
    "structure": _Structure,
    "epoch": _Epoch,
}
_KINDS: Mapping[str, type[_Line]] = {
    "network": _Network,
    "looks": _Looks,
    "confirmation": _Confirmation,
    "sample": _Sample,
    **_DRAWN,
}


def read_history(folder: Path) -> History:
    """Read the history of a run directory.

    Raises:
        RunDirectoryError: There is none, it is damaged, or it has not come far enough to be drawn.
    """
    path = folder / HISTORY
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunDirectoryError(f"'{path}' cannot be read: {error.strerror or error}; was it --run-dir?") from error
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for number, text in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        line = _read_line(text, f"'{path}', line {number}")
        kinds.setdefault(line["kind"], []).append(line)
        if issubclass(_KINDS.get(line["kind"], _Line), _Units) and "network" in kinds:
            _check_length(line, kinds["network"][0], f"'{path}', line {number}")
    if "network" not in kinds or not kinds.keys() & _DRAWN.keys():
        raise RunDirectoryError(f"the run in '{folder}' has judged nothing yet: there is nothing to draw")
    network = kinds["network"][0]
    return History(
        groups=tuple(group["name"] for group in network["groups"]),
        units=np.array([group["units"] for group in network["groups"]]),
        cost=network["cost"],
        unit=network["unit"],
        looks={looks["stage"]: looks["samples"][-1] for looks in kinds.get("looks", ())},
        judged=tuple(kinds.get("judgement", ())),
        evaluated=tuple(kinds.get("evaluation", ())),
        confirmed=tuple(kinds.get("confirmation", ())),
        sampled=tuple(kinds.get("sample", ())),
        structures=tuple(kinds.get("structure", ())),
        epochs=tuple(kinds.get("epoch", ())),
        metric=network.get("metric"),
    )


def _read_line(text: bytes, place: str) -> dict[str, Any]:
    """Read a line and check what a picture needs of it."""
    try:
        line = json.loads(text)
    except ValueError as error:
        raise RunDirectoryError(f"{place} is damaged: {error}") from error
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        raise RunDirectoryError(f"{place} is none of a run's history; was it --run-dir?")
    form = _KINDS.get(line["kind"])
    try:
        if form is not None:
            form.model_validate(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RunDirectoryError(f"{place} is damaged: key '{key}' of kind '{line['kind']}': {first['msg']}") from error
    return line


def _check_length(line: Mapping[str, Any], network: Mapping[str, Any], place: str) -> None:
    """Refuse a structure of another number of groups than the network has."""
    given, groups = len(line["units"]), len(network["groups"])
    if given != groups:
        raise RunDirectoryError(f"{place} is damaged: it has units of {given} groups, and the network {groups} groups")
