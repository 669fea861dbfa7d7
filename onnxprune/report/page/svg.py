"""Small drawings in SVG: elements, axes, marks. Colours come from the page's classes, so that both themes fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 14, 46
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def tag(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Return an element; texts and values are escaped.

    Args:
        name: Name of the element.
        *children: Texts and elements inside.
        **attributes: Values; `class_` and `stroke_width` become `class` and `stroke-width`; None is left out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.strip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside)


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Scale:
    """A linear scale.

    Attributes:
        low: Smallest value.
        high: Largest value, above `low`.
        start: Where the smallest value is drawn.
        stop: Where the largest is drawn.
        whole: Whether only whole numbers mean something.
    """

    low: float
    high: float
    start: float
    stop: float
    whole: bool = False

    def at(self, value: float) -> float:
        """Return where a value is drawn; values outside are drawn at the end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, wanted: int = 5) -> list[tuple[float, str]]:
        """Return round values within the scale and how they are written."""
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * s for s in _STEPS if power * s >= rough * 0.999)
        step = max(1.0, round(step)) if self.whole else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        if round(step, digits) != round(step, digits + 1):
            digits += 1
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [(step * (first + i), f"{step * (first + i):.{digits}f}") for i in range(count)]


@dataclass(frozen=True)
class Frame:
    """The area that a chart is drawn in.

    Attributes:
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis.
        x_label: What is on the horizontal axis, with its unit.
        y_label: What is on the vertical axis, with its unit; empty: no vertical axis.
        width: Width of the drawing.
        height: Height of the drawing.
    """

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    width: float = WIDTH
    height: float = HEIGHT

    def axes(self) -> list[Markup]:
        """Draw grid lines, ticks and labels."""
        left, right, bottom = self.x.start, self.x.stop, self.y.start
        parts = [tag("line", class_="axis", x1=left, x2=right, y1=bottom, y2=bottom)]
        for value, text in self.x.ticks():
            at = self.x.at(value)
            parts.append(tag("line", class_="axis", x1=at, x2=at, y1=bottom, y2=bottom + 4))
            parts.append(tag("text", text, class_="tick", x=at, y=bottom + 17, text_anchor="middle"))
        middle = (left + right) / 2
        parts.append(tag("text", self.x_label, class_="label", x=middle, y=self.height - 8, text_anchor="middle"))
        return parts + (self._vertical() if self.y_label else [])

    def _vertical(self) -> list[Markup]:
        left, right = self.x.start, self.x.stop
        parts = []
        for value, text in self.y.ticks():
            at = self.y.at(value)
            parts.append(tag("line", class_="grid", x1=left, x2=right, y1=at, y2=at))
            parts.append(tag("text", text, class_="tick", x=left - 7, y=at + 4, text_anchor="end"))
        middle = (self.y.start + self.y.stop) / 2
        turned = f"translate(13 {middle:.0f}) rotate(-90)"
        return [*parts, tag("text", self.y_label, class_="label", transform=turned, text_anchor="middle")]

    def points(self, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return where points are drawn."""
        return [(self.x.at(x), self.y.at(y)) for x, y in points]


def frame(
    x: tuple[float, float],
    y: tuple[float, float],
    labels: tuple[str, str],
    size: tuple[float, float] = (WIDTH, HEIGHT),
    *,
    whole: bool = False,
) -> Frame:
    """Lay out a chart.

    Args:
        x: Smallest and largest value of the horizontal axis.
        y: And of the vertical axis.
        labels: What the axes show; an empty second one leaves the vertical axis out.
        size: Width and height of the drawing.
        whole: Whether the horizontal axis counts.
    """
    width, height = size
    left = _LEFT if labels[1] else _RIGHT
    return Frame(
        Scale(*widened(*x), left, width - _RIGHT, whole),
        Scale(*widened(*y), height - _BOTTOM, _TOP),
        *labels,
        width,
        height,
    )


def widened(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty."""
    if high > low:
        return low, high
    room = abs(low) * 0.05 or 1.0
    return low - room, high + room


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Return the range of values with room on both sides."""
    low, high = widened(min(values), max(values))
    room = (high - low) * share
    return low - room, high + room


def line(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Draw straight lines from point to point."""
    return tag("polyline", class_=class_, points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def steps(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Draw a staircase: each value holds until the next."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}", *(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])]
    return tag("path", class_=class_, d="".join(path))


def mark(shape: str, at: tuple[float, float], class_: str, size: float = 4.0) -> Markup:
    """Draw a mark: "circle", "diamond", "square", "triangle" or "star"."""
    x, y = at
    if shape == "circle":
        return tag("circle", class_=class_, cx=x, cy=y, r=size)
    points = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in _SHAPES[shape])
    return tag("polygon", class_=class_, points=points)


_STAR = [
    (radius * math.sin(math.pi * i / 5), -radius * math.cos(math.pi * i / 5))
    for i in range(10)
    for radius in [1.6 if i % 2 == 0 else 0.65]
]
_SHAPES: dict[str, list[tuple[float, float]]] = {
    "diamond": [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)],
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1.3), (1.2, 0.9), (-1.2, 0.9)],
    "star": _STAR,
}


def drawing(key: str, title: str, description: str, parts: Sequence[Markup], size: tuple[float, float]) -> Markup:
    """Put a drawing together, with the texts that screen readers say.

    Args:
        key: Unique on the page.
        title: What it is.
        description: What it shows.
        parts: Its elements.
        size: Width and height.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        *parts,
        class_="chart large" if size[0] >= WIDTH else "chart",
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )
