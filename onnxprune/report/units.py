"""Numbers as people read them: 7.40 ms, 4.09 G, 102 MB, -52 % (2.1x)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from onnxprune.search.target import REMOVED, UNITS, TargetKind

# XML 1.0 has no other control characters, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COUNTS = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
_PERCENTAGES = frozenset({"top-1", "top-1 agreement", "normalised agreement"})
_SIZES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"))


def plain(text: str) -> str:
    """A text with what XML cannot hold, such as control characters in a node's name, shown as a box."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def milliseconds(value_ms: float) -> str:
    """Three significant digits: `0.531 ms`, `7.40 ms`, `152 ms`, `12.3 s`."""
    if value_ms >= 9999.5:
        return f"{_three_digits(value_ms / 1e3)} s"
    return f"{_three_digits(value_ms)} ms"


def interval(low_ms: float, high_ms: float) -> str:
    """Both ends of a range of milliseconds: `0.223 to 0.231 ms`."""
    low, high = milliseconds(low_ms), milliseconds(high_ms)
    return f"{low.removesuffix(' ms')} to {high}" if high.endswith(" ms") else f"{low} to {high}"


def count(value: float) -> str:
    """Three significant digits and a decimal prefix: `4.09 G`, `25.5 M`, `812`."""
    return _prefixed(value, _COUNTS, "")


def counted(number: int, noun: str) -> str:
    """A number of things: `1 group`, `2 groups`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def data_size(value_bytes: float) -> str:
    """Three significant digits in decimal units: `102 MB`, `1.20 kB`, `812 B`."""
    return _prefixed(value_bytes, _SIZES, " B")


def percent(share: float, digits: int = 1) -> str:
    """A share as `52.1 %`."""
    return f"{100 * share:.{digits}f} %"


def rate(value: float) -> str:
    """Three significant digits: `1.90 k/s`, `81.3/s`."""
    text = _prefixed(value, _COUNTS, "") if value >= 999.5 else _three_digits(value)
    return f"{text}/s"


def change(before: float, after: float) -> str:
    """How much less or more: `-52 % (2.1x)`, `+3 %`; empty where there was nothing before."""
    if before <= 0:
        return ""
    relative = f"{100 * (after / before - 1):+.0f} %"
    if relative in ("+0 %", "-0 %"):
        return "0 %"
    if not 0 < after < before:
        return relative
    factor = before / after
    return f"{relative} ({factor:.2f}x)" if factor < 1.1 else f"{relative} ({factor:.1f}x)"


def is_percentage(metric: str | None) -> bool:
    """Whether a metric, by its name, is in percent; a user's own is on any scale. None: it is not known."""
    return metric is None or metric in _PERCENTAGES


def score(value: float, metric: str | None) -> str:
    """A metric's value with its unit: `92.08 %`; of a user's own, `-0.1234`."""
    return score_digits(value, metric) + (" %" if is_percentage(metric) else "")


def score_digits(value: float, metric: str | None) -> str:
    """A metric's value without its unit: `92.08`; of a user's own its first four digits, `-0.1234`."""
    # Minus an error of nothing is no "-0".
    return f"{value:.2f}" if is_percentage(metric) else f"{value + 0.0:.4g}"


def score_label(text: str, metric: str | None) -> str:
    """What a column or an axis of a metric's values is called: `metric (%)`; of a user's own `metric`."""
    return f"{text} (%)" if is_percentage(metric) else text


def points(before: float, after: float, metric: str | None = None) -> str:
    """Difference of two values of a metric: `-0.42 points`."""
    difference = after - before
    return f"{difference:+.2f} points" if is_percentage(metric) else f"{difference:+.4g} points"


@dataclass(frozen=True)
class Scale:
    """What numbers on an axis are written in.

    Attributes:
        divisor: One of it, in the unit of the cost.
        unit: Its name: "M MACs", "ms".
    """

    divisor: float
    unit: str


def cost_scale(unit: str, largest: float) -> Scale:
    """Return what costs are written in on an axis.

    Args:
        unit: The unit of a target.
        largest: The largest of them, in that unit.
    """
    if unit == REMOVED:
        return Scale(0.01, "% of the channels removed")
    if unit == UNITS["latency"]:
        return Scale(1.0, unit)
    prefixes = _SIZES if unit == UNITS["size"] else _COUNTS
    divisor, prefix = next(((size, name.strip()) for size, name in prefixes if largest >= size), (1.0, ""))
    if unit == UNITS["size"]:
        return Scale(divisor, prefix or unit)
    return Scale(divisor, f"{prefix} {unit}".strip())


@dataclass(frozen=True)
class Quantity:
    """What a target limits.

    Attributes:
        noun: What it is called.
        show: Writes an amount of it.
    """

    noun: str
    show: Callable[[float], str]


def quantity(kind: TargetKind) -> Quantity:
    """Return what a kind of target limits; a ratio is the share of the channels that go."""
    return _QUANTITIES[kind]


def _prefixed(value: float, prefixes: tuple[tuple[float, str], ...], plain: str) -> str:
    for size, name in prefixes:
        # 999.6 k would read 1000 k.
        if value >= size * 0.9995:
            return f"{_three_digits(value / size)}{name}"
    return f"{value:.0f}{plain}"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.9995 else f"{value:.3f}"


_QUANTITIES: dict[TargetKind, Quantity] = {
    "latency": Quantity("latency", milliseconds),
    "macs": Quantity("MACs", count),
    "params": Quantity("parameters", count),
    "size": Quantity("file size", data_size),
    "ratio": Quantity("share of channels removed", percent),
}
