"""The base of everything that is written to JSON and read back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from onnxprune.graph import write_text

Operation = Literal["compress", "prune"]
"""What makes a smaller network, and a report."""

# A list of numbers over several lines. Strings in JSON hold no line breaks, so none of them can match.
_NUMBER_LIST = re.compile(r"\[\n\s*([^\[\]{}\"]*?)\n\s*\]")
_FLOAT_MAX = 1.7976931348623157e308


class Record(BaseModel):
    """Immutable, with no fields but the declared ones, and no NaN or infinity, which JSON does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """Return the record as indented JSON, each list of numbers on one line."""
        return _NUMBER_LIST.sub(_on_one_line, self.model_dump_json(indent=2)) + "\n"


def write_report(report: Record, path: str | Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        OutputError: The path cannot be written, or the disk is full.
    """
    write_text(report.to_json(), path)


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + re.sub(r",\n\s*", ", ", match[1]) + "]"


def _finite_or_none(value: object) -> object:
    if isinstance(value, float) and not abs(value) <= _FLOAT_MAX:
        return None
    return value


MaybeFinite = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A measured number that may turn out NaN or infinite; it is then written as null."""
