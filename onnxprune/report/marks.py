"""Marks that the pictures of a run share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxprune.report.seen import BEGINNING, Seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BEST, CHOSEN = "#000000", "#D55E00"
_COLOURS = {"global": "#0072B2", "uniform": "#E69F00", "rl": "#009E73", "random": "#CC79A7", BEGINNING: "#999999"}
_OTHER = "#56B4E9"
_PLAIN = ("global", "uniform", BEGINNING)
_FIRST_LOOK = "#888888"
_MOST_LABELS = 8
_MARGIN = 0.08
_MANY = 200


@dataclass(frozen=True)
class Mark:
    """Where a structure is drawn.

    Attributes:
        seen: The structure.
        x: On the x axis.
        y: On the y axis.
    """

    seen: Seen
    x: float
    y: float


def mark_structures(axes: Axes, marks: Sequence[Mark], lowest: float) -> None:
    """Draw structures by who proposed them; hollow and grey what was seen on few samples only.

    Args:
        axes: Where to draw.
        marks: The structures.
        lowest: What lies below it is not on the axis, but counted.
    """
    size = 20 if len(marks) <= _MANY else 8
    shown = [mark for mark in marks if mark.y >= lowest]
    early = [mark for mark in shown if not mark.seen.whole]
    if early:
        xs, ys = [mark.x for mark in early], [mark.y for mark in early]
        axes.scatter(xs, ys, s=size, facecolor="none", edgecolor=_FIRST_LOOK, label=_few(early))
    whole = [mark for mark in shown if mark.seen.whole]
    for source in dict.fromkeys(mark.seen.source for mark in whole):
        plain = source in _PLAIN
        axes.scatter(
            [mark.x for mark in whole if mark.seen.source == source],
            [mark.y for mark in whole if mark.seen.source == source],
            s=2.5 * size if plain else size,
            marker="D" if plain else "o",
            color=_COLOURS.get(source, _OTHER),
            label=source,
            zorder=3 if plain else 4,
        )
    _point_at_lower(axes, [mark for mark in marks if mark.y < lowest])


def _point_at_lower(axes: Axes, lower: Sequence[Mark]) -> None:
    if lower:
        label = f"{len(lower)} below the axis\n(the lowest: {min(mark.y for mark in lower):.4g})"
        axes.plot([], [], "v", color="grey", markersize=5, label=label)
        axes.scatter(
            [mark.x for mark in lower],
            [0.02] * len(lower),
            s=25,
            marker="v",
            color=[_COLOURS.get(m.seen.source, _OTHER) if m.seen.whole else _FIRST_LOOK for m in lower],
            transform=axes.get_xaxis_transform(),
        )


def _few(early: Sequence[Mark]) -> str:
    looks = sorted({(mark.seen.samples, mark.seen.all_samples) for mark in early})
    return "first look only\n" + (f"({looks[0][0]} of {looks[0][1]} samples)" if len(looks) == 1 else "(few samples)")


def named(count: int) -> list[int]:
    """Return which of several things in a row are named, the last one among them, so that names stay readable."""
    return list(range(count))[:: -max(1, -(-count // _MOST_LABELS))][::-1]


def legend_beside(axes: Axes) -> None:
    """Put the legend where it hides nothing."""
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def show_range(axes: Axes, low: float, high: float) -> None:
    """Let the y axis reach from one value to another, with room around marks."""
    room = _MARGIN * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)


def lowest_shown(values: Sequence[float]) -> float:
    """Return the lowest value on an axis: of all, but of the lowest tenth what would squeeze the others to a half."""
    high, most = max(values), sorted(values)[len(values) // 10]
    return min(value for value in values if value >= most - (high - most) or most == high)


def whole_numbers(axes: Axes) -> None:
    """Put the ticks of the x axis on whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
