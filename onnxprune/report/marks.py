"""Marks that the pictures of a run share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def mark_structures(axes: Axes, seen: Sequence[Seen], place: Callable[[Seen], tuple[float, float]]) -> None:
    """Draw structures by who proposed them; hollow and grey what was seen on few samples only.

    Args:
        axes: Where to draw.
        seen: The structures.
        place: Says where one is.
    """
    size = 20 if len(seen) <= _MANY else 8
    early = [s for s in seen if not s.whole]
    if early:
        xs, ys = zip(*(place(s) for s in early), strict=True)
        axes.scatter(xs, ys, s=size, facecolor="none", edgecolor=_FIRST_LOOK, label=_few(early))
    whole = [s for s in seen if s.whole]
    for source in dict.fromkeys(s.source for s in whole):
        xs, ys = zip(*(place(s) for s in whole if s.source == source), strict=True)
        plain = source in _PLAIN
        axes.scatter(
            xs,
            ys,
            s=2.5 * size if plain else size,
            marker="D" if plain else "o",
            color=_COLOURS.get(source, _OTHER),
            label=source,
            zorder=3 if plain else 4,
        )


def _few(early: Sequence[Seen]) -> str:
    looks = sorted({(s.samples, s.all_samples) for s in early})
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
    """Return the lowest value on an axis: of all, unless the lowest tenth would squeeze the others."""
    low, high = min(values), max(values)
    cut = sorted(values)[len(values) // 10]
    return cut if 0 < 2 * (high - cut) < high - low else low


def mark_lower(axes: Axes, lower: Sequence[tuple[Seen, float]], lowest: float) -> None:
    """Point at structures that lie below the axis, and say how many do.

    Args:
        axes: Where to draw.
        lower: The structures, and where each lies on the x axis.
        lowest: The lowest value of theirs.
    """
    if lower:
        axes.plot(
            [], [], "v", color="grey", markersize=5, label=f"{len(lower)} below the axis\n(the lowest: {lowest:.4g})"
        )
        axes.scatter(
            [x for _, x in lower],
            [0.02] * len(lower),
            s=25,
            marker="v",
            color=[_COLOURS.get(seen.source, _OTHER) if seen.whole else _FIRST_LOOK for seen, _ in lower],
            transform=axes.get_xaxis_transform(),
        )


def whole_numbers(axes: Axes) -> None:
    """Put the ticks of the x axis on whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
