"""What is to be reached: `10ms`, `60%`, `500M`, `3MB`, `0.5x`, read and checked.

A target is either absolute, in milliseconds, counts or bytes, or relative: a share of the original's cost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from onnxprune.errors import TargetError

TargetKind = Literal["latency", "macs", "params", "size", "ratio"]

UNITS: Mapping[TargetKind, str] = {
    "latency": "ms",
    "macs": "MACs",
    "params": "parameters",
    "size": "bytes",
    "ratio": "share of channels removed",
}
"""Unit of an absolute target of each kind."""

REMOVED = UNITS["ratio"]
"""The unit of which more is smaller: of ratios people are told what goes."""

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([^\d\s]*)", re.IGNORECASE)
_TIMES_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_SIZES = {
    "b": 1.0,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
}
_SHARES = {"%": 0.01, "x": 1.0}


@dataclass(frozen=True)
class Target:
    """A cost that the compressed network must not exceed; validates itself.

    Attributes:
        kind: What is limited.
        value: Absolute: milliseconds, multiply-accumulates, parameters or bytes, above 0. Relative: the share
            of the original's, above 0 and below 1. "ratio": the share of channels to remove, likewise.
        relative: Whether `value` is a share of the original's cost.
        text: What the user wrote.

    Raises:
        TargetError: The value is 0, negative, not finite, or a share of 1 or more.
    """

    kind: TargetKind
    value: float
    relative: bool
    text: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise TargetError(f"{_noun(self.kind)} '{self.text}' must be a finite number above 0{_hint(self.kind)}")
        if self.kind == "ratio" and self.value >= 1:
            raise TargetError(f"ratio '{self.text}' must be below 1: 0.3 removes 30 % of the channels")
        if self.relative and self.value >= 1:
            raise TargetError(
                f"{self._called()} does not make the model smaller: a relative target is a share of the "
                "original's cost, above 0 and below 1 ('0.5x' and '50%' both mean half of it)"
            )

    def resolve(self, original: float) -> float:
        """Return the absolute target in the unit of `original`: milliseconds, a count or bytes."""
        return self.value * original if self.relative else self.value

    def _called(self) -> str:
        return f"{_noun(self.kind)} '{self.text}'"


def parse_latency(text: str | float) -> Target:
    """Read a latency: `10ms`, `500us`, `0.01s`, `60%`, `0.5x`; a number that is no text is in milliseconds.

    Raises:
        TargetError: It cannot be read, or makes no sense.
    """
    return _parse("latency", text, _TIMES_MS)


def parse_count(text: str | float, kind: Literal["macs", "params"] = "macs") -> Target:
    """Read a number of multiply-accumulates or parameters: `500M`, `1.2G`, `25000000`, `60%`, `0.5x`.

    Raises:
        TargetError: It cannot be read, or makes no sense.
    """
    return _parse(kind, text, _COUNTS)


def parse_size(text: str | float) -> Target:
    """Read a file size: `3MB` (10^6 bytes), `3MiB` (2^20), `500kB`, `60%`, `0.5x`; a number is in bytes.

    Raises:
        TargetError: It cannot be read, or makes no sense.
    """
    return _parse("size", text, _SIZES)


def ratio_target(ratio: float, text: str | None = None) -> Target:
    """Make a target of the share of channels to remove, above 0 and below 1.

    Args:
        ratio: The share.
        text: How messages and the report call it; None: as a number.

    Raises:
        TargetError: It is outside of that, or no number.
    """
    try:
        share = float(ratio)
    except ValueError as error:
        raise TargetError(f"ratio '{ratio}' cannot be read{_hint('ratio')}") from error
    return Target("ratio", share, False, text or f"{share:g}")


def told_cost(kind: TargetKind, cost: float) -> float:
    """Return a cost in the unit that people are told: of a ratio what goes, where the search counts what stays."""
    # 1 - 0.7 would read 0.30000000000000004, and limits allow for that.
    return round(1.0 - cost, 8) if kind == "ratio" else cost


def _parse(kind: TargetKind, text: str | float, units: Mapping[str, float]) -> Target:
    if not isinstance(text, str):
        return Target(kind, float(text), False, f"{text:g}")
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise TargetError(f"{_noun(kind)} '{text}' cannot be read{_hint(kind)}")
    number, unit = float(match[1]), match[2].lower()
    if unit in _SHARES:
        return Target(kind, number * _SHARES[unit], True, text)
    if unit in units:
        return Target(kind, number * units[unit], False, text)
    problem = f"has an unknown unit '{match[2]}'" if unit else "has no unit"
    raise TargetError(f"{_noun(kind)} '{text}' {problem}{_hint(kind)}")


def _noun(kind: TargetKind) -> str:
    return "ratio" if kind == "ratio" else f"target {kind}"


def _hint(kind: TargetKind) -> str:
    examples = {
        "latency": "'10ms', '500us', '0.01s', or a share of the original's: '60%', '0.5x'",
        "macs": "'500M', '1.2G', or a share of the original's: '60%', '0.5x'",
        "params": "'500k', '12M', or a share of the original's: '60%', '0.5x'",
        "size": "'500kB', '3MB', or a share of the original's: '60%', '0.5x'",
        "ratio": "0.3 for 30 % of the channels",
    }
    return f"; write it like {examples[kind]}"
